"""CompreFace's routes that take photos.

None of its routes is in the OpenAPI document, which knows one way to refuse: a problem. What
they take and give is described where their clients' authors have read it.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from service.compat.compreface import faces
from service.compat.compreface.answers import (
    Comparison,
    Detection,
    Example,
    Recognition,
    Verification,
    Words,
)
from service.compat.compreface.paths import PREFIX
from service.compat.compreface.requests import (
    OnePhoto,
    Options,
    TwoPhotos,
    read_photos,
)
from service.disconnect import run_until_disconnect
from service.errors import FieldError, KeyForbidden
from service.guard import By, MayEmbed
from service.problems import invalid_fields
from service.schemas import SubjectId
from service.service import Running

router = APIRouter(prefix=PREFIX, include_in_schema=False)


async def words_of(
    service: Running, options: Annotated[Options, Query()], may_embed: MayEmbed
) -> Words:
    """Settle which bundle answers; vectors go only to those who may have them."""
    if options.wants_vectors and not may_embed:
        raise KeyForbidden("The key lacks the scope `embed`, which the plugin `calculator` takes.")
    if not options.detect_faces:
        reason = "Faces are always looked for; LIKENESS_DETECTOR=none takes all photos for faces"
        raise invalid_fields([FieldError("detect_faces", reason)])
    return Words(service, await service.serving(), options)


InWords = Annotated[Words, Depends(words_of)]


@router.post("/recognition/recognize", response_model_exclude_none=True)
async def recognize(request: Request, words: InWords) -> Recognition:
    form = await read_photos(request, words.service, OnePhoto)
    return await run_until_disconnect(
        request, faces.recognize(words, form.file, words.service.caller())
    )


@router.post("/verification/verify", response_model_exclude_none=True)
async def compare(request: Request, words: InWords) -> Comparison:
    form = await read_photos(request, words.service, TwoPhotos)
    return await run_until_disconnect(request, faces.compare(words, form, words.service.caller()))


@router.post("/recognition/faces/{image_id}/verify", response_model_exclude_none=True)
async def verify(request: Request, words: InWords, image_id: str) -> Verification:
    form = await read_photos(request, words.service, OnePhoto)
    work = faces.verify(words, image_id, form.file, words.service.caller())
    return await run_until_disconnect(request, work)


@router.post("/detection/detect", response_model_exclude_none=True)
async def detect(request: Request, words: InWords) -> Detection:
    form = await read_photos(request, words.service, OnePhoto)
    return await run_until_disconnect(
        request, faces.detect(words, form.file, words.service.caller())
    )


@router.post("/recognition/faces", status_code=201)
async def add(
    request: Request, words: InWords, by: By, subject: Annotated[SubjectId, Query()]
) -> Example:
    form = await read_photos(request, words.service, OnePhoto)
    work = faces.add(words, subject, form.file, by, words.service.caller())
    return await run_until_disconnect(request, work)
