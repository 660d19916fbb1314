"""Recognition over HTTP: enroll, verify, identify, embed."""

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, BackgroundTasks, Header, Request, Response
from pydantic import BaseModel, JsonValue

from service.api.names import subject_named
from service.api.openapi import links, request_body
from service.api.rows import preferred_type, rows_document, rows_response
from service.client.rows import MEDIA_TYPE as ROWS
from service.edge.body import parse, read_fields
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By, MayLower, MayName
from service.edge.keys import count_photos
from service.edge.problems import request_id
from service.recognition.embed import embed_photos
from service.recognition.enroll import enroll_photos
from service.recognition.identify import identify_photo
from service.recognition.service import Service, ServiceDep
from service.recognition.verify import verify_photos
from service.schemas.recognition import (
    EmbedAnswer,
    EnrollAnswer,
    IdentifyAnswer,
    Liveness,
    VerifyAnswer,
)
from service.schemas.requests import (
    EmbedRequest,
    EnrollRequest,
    IdentifyRequest,
    LivenessTokenBody,
    VerifyRequest,
)

router = APIRouter(tags=["recognition"])
M = TypeVar("M", bound=BaseModel)
_SUBJECT: dict[str, JsonValue] = {"path.subject": "$response.body#/subject"}
_TEMPLATE = _SUBJECT | {"path.template_id": "$response.body#/images/0/template_id"}
_ENROLLED = links(
    enroll={"query.subject": "$response.body#/subject"},
    verify={"query.subject": "$response.body#/subject"},
    subject=_SUBJECT,
    export=_SUBJECT,
    delete_subject=_SUBJECT,
    delete_template=_TEMPLATE,
)
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=256,
        description="a request repeated with the same key has no new effect, for a day or until "
        "its templates are deleted",
    ),
]


async def read_form(
    request: Request, service: Service, model: type[M], query: Mapping[str, list[str]] | None = None
) -> M:
    """Read and validate the fields of a request; fields in `query` come first if given."""
    with service.metrics.timed("read"):
        fields = await read_fields(request, service.settings)
        form = parse(fields if query is None else fields.after(query), model)
    count_photos(request.scope, form)
    return form


async def check_liveness(
    request: Request, service: Service, form: LivenessTokenBody, photos: Sequence[bytes]
) -> Liveness:
    """Check the liveness token, if the settings say so, before anything is computed."""
    check = service.liveness.check(
        form.liveness_token, photos, request.url.path, request_id(request.scope)
    )
    return await run_until_disconnect(request, check)


@router.post(
    "/enroll",
    status_code=201,
    responses={
        201: _ENROLLED,
        200: {
            "model": EnrollAnswer,
            "description": "All photos were enrolled before; nothing was stored.",
        }
        | _ENROLLED,
    },
    openapi_extra=request_body(EnrollRequest),
)
async def enroll(
    request: Request,
    response: Response,
    service: ServiceDep,
    by: By,
    may_name: MayName,
    idempotency_key: IdempotencyKey = None,
) -> EnrollAnswer:
    """Enrol a subject from one photo or more.

    A photo that cannot be used, or would make a bad template, is answered with its problem; the
    other photos are enrolled. The same photo is never stored twice.
    """
    form = await read_form(request, service, EnrollRequest)
    liveness = await check_liveness(request, service, form, form.image)
    answer, created = await run_until_disconnect(
        request,
        enroll_photos(service, form, idempotency_key, by, may_name, service.caller()),
    )
    response.status_code = 201 if created else 200
    return answer.model_copy(update={"liveness": liveness})


@router.post("/verify", openapi_extra=request_body(VerifyRequest))
async def verify(
    request: Request, service: ServiceDep, background_tasks: BackgroundTasks, may_lower: MayLower
) -> VerifyAnswer:
    """Decide whether photos show the subject, or whether two photos show one person.

    Several photos of one person, such as frames of a burst, are fused, and so are the subject's
    templates. This makes fewer errors at the same threshold.
    """
    form = await read_form(request, service, VerifyRequest)
    if form.subject is not None:
        name = await subject_named(service.store, form.subject)
        form = form.model_copy(update={"subject": name})
    photos = [*(form.image or ()), form.source_image, form.target_image]
    liveness = await check_liveness(request, service, form, [photo for photo in photos if photo])
    answer = await run_until_disconnect(
        request, verify_photos(service, form, service.caller(), may_lower)
    )
    if service.shadow is not None:
        background_tasks.add_task(service.shadow.offer, form, answer)
    return answer.model_copy(update={"liveness": liveness})


@router.post("/identify", openapi_extra=request_body(IdentifyRequest))
async def identify(request: Request, service: ServiceDep, may_lower: MayLower) -> IdentifyAnswer:
    """Find the enrolled subjects that photos of one person resemble; `unknown` if none."""
    form = await read_form(request, service, IdentifyRequest)
    liveness = await check_liveness(request, service, form, form.image)
    answer = await run_until_disconnect(
        request, identify_photo(service, form, service.caller(), may_lower)
    )
    return answer.model_copy(update={"liveness": liveness})


@router.post(
    "/embed",
    response_model=EmbedAnswer,
    responses={200: rows_document()},
    openapi_extra=request_body(EmbedRequest),
)
async def embed(request: Request, service: ServiceDep) -> EmbedAnswer | Response:
    """Return the vectors or features of one photo or more; nothing is stored."""
    form = await read_form(request, service, EmbedRequest)
    # Checked first: a request whose `Accept` header cannot be met must cost no computation.
    media = preferred_type(",".join(request.headers.getlist("accept")), ("application/json", ROWS))
    answer = await run_until_disconnect(request, embed_photos(service, form, service.caller()))
    return rows_response(answer) if media == ROWS else answer
