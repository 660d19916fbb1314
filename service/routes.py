"""Recognition over HTTP: parse, do, answer."""

from typing import Annotated, TypeVar

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel

from service import recognition
from service.accept import preferred
from service.answers import EmbedAnswer, EnrollAnswer, IdentifyAnswer, VerifyAnswer
from service.body import parse, read_fields
from service.disconnect import run_until_disconnect
from service.guard import By
from service.openapi import request_body
from service.rows import MEDIA_TYPE as ROWS
from service.rows import rows_document, rows_response
from service.schemas import EmbedRequest, EnrollRequest, IdentifyRequest, VerifyRequest
from service.service import Running, Service

router = APIRouter(tags=["recognition"])
M = TypeVar("M", bound=BaseModel)
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=256, description="makes a repeated request harmless"),
]


async def read(request: Request, service: Service, model: type[M]) -> M:
    """Read and check the fields of a request."""
    with service.metrics.timed("read"):
        return parse(await read_fields(request, service.settings), model)


@router.post(
    "/enroll",
    status_code=201,
    responses={200: {"model": EnrollAnswer, "description": "Enrolled before; nothing is new."}},
    openapi_extra=request_body(EnrollRequest),
)
async def enroll(
    request: Request,
    response: Response,
    service: Running,
    by: By,
    idempotency_key: IdempotencyKey = None,
) -> EnrollAnswer:
    """Store a subject's face from one photo or more.

    A photo that cannot be used is answered with its problem and harms no other. The same
    photo again is not stored twice.
    """
    form = await read(request, service, EnrollRequest)
    answer, created = await run_until_disconnect(
        request, recognition.enroll(service, form, idempotency_key, by, request)
    )
    response.status_code = 201 if created else 200
    return answer


@router.post("/verify", openapi_extra=request_body(VerifyRequest))
async def verify(request: Request, service: Running) -> VerifyAnswer:
    """Decide whether a photo shows the subject, or whether two photos show one person."""
    form = await read(request, service, VerifyRequest)
    return await run_until_disconnect(request, recognition.verify(service, form, request))


@router.post("/identify", openapi_extra=request_body(IdentifyRequest))
async def identify(request: Request, service: Running) -> IdentifyAnswer:
    """Find whom a photo shows among the enrolled subjects, or say unknown."""
    form = await read(request, service, IdentifyRequest)
    return await run_until_disconnect(request, recognition.identify(service, form, request))


@router.post(
    "/embed",
    response_model=EmbedAnswer,
    responses={200: rows_document()},
    openapi_extra=request_body(EmbedRequest),
)
async def embed(request: Request, service: Running) -> EmbedAnswer | Response:
    """Return the vectors or features of one photo or more; nothing is stored."""
    form = await read(request, service, EmbedRequest)
    # Before the encoder: an answer that nobody takes costs nothing.
    media = preferred(",".join(request.headers.getlist("accept")), ("application/json", ROWS))
    answer = await run_until_disconnect(request, recognition.embed(service, form, request))
    return rows_response(answer) if media == ROWS else answer
