"""CompreFace's routes that take photos.

None of its routes is in the OpenAPI document, which knows one way to refuse: a problem. What
they take and give is described where their clients' authors have read it.
"""

from fastapi import APIRouter, Request

from service.compat.compreface import faces
from service.compat.compreface.access import PREFIX
from service.compat.compreface.answers import (
    Comparison,
    Detection,
    Example,
    Recognition,
    Verification,
    Words,
)
from service.compat.compreface.requests import (
    NewExample,
    OnePhoto,
    Options,
    TwoPhotos,
    read_photos,
)
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By, MayEmbed
from service.errors import FieldError, KeyForbidden, invalid_fields
from service.recognition.service import Service, ServiceDep

router = APIRouter(prefix=PREFIX, include_in_schema=False)


async def words_of(service: Service, options: Options, may_embed: bool) -> Words:
    """Settle which bundle answers; vectors go only to those who may have them."""
    if options.wants_vectors and not may_embed:
        raise KeyForbidden("The key lacks the scope `embed`, which the plugin `calculator` takes.")
    if not options.detect_faces:
        reason = "Faces are always looked for; LIKENESS_DETECTOR=none takes all photos for faces"
        raise invalid_fields([FieldError("detect_faces", reason)])
    return Words(service, await service.active(), options)


@router.post("/recognition/recognize", response_model_exclude_none=True)
async def recognize(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Recognition:
    form = await read_photos(request, service, OnePhoto)
    words = await words_of(service, form, may_embed)
    work = faces.recognize(words, form.file, service.caller())
    return await run_until_disconnect(request, work)


@router.post("/verification/verify", response_model_exclude_none=True)
async def compare(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Comparison:
    form = await read_photos(request, service, TwoPhotos)
    words = await words_of(service, form, may_embed)
    return await run_until_disconnect(request, faces.compare(words, form, service.caller()))


@router.post("/recognition/faces/{image_id}/verify", response_model_exclude_none=True)
async def verify(
    request: Request, service: ServiceDep, may_embed: MayEmbed, image_id: str
) -> Verification:
    form = await read_photos(request, service, OnePhoto)
    words = await words_of(service, form, may_embed)
    work = faces.verify(words, image_id, form.file, service.caller())
    return await run_until_disconnect(request, work)


@router.post("/detection/detect", response_model_exclude_none=True)
async def detect(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Detection:
    form = await read_photos(request, service, OnePhoto)
    words = await words_of(service, form, may_embed)
    return await run_until_disconnect(request, faces.detect(words, form.file, service.caller()))


@router.post("/recognition/faces", status_code=201)
async def add(request: Request, service: ServiceDep, by: By, may_embed: MayEmbed) -> Example:
    form = await read_photos(request, service, NewExample)
    words = await words_of(service, form, may_embed)
    work = faces.add(words, form.subject, form.file, by, service.caller())
    return await run_until_disconnect(request, work)
