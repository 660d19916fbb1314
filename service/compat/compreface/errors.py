"""Translate problems to CompreFace's form: `{"message": ..., "code": ...}`."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from starlette.responses import JSONResponse

from service.compat.translation import Translation
from service.schemas.problem import Problem

# The numbers are those of CompreFace's `CommonExceptionCode`.
UNDEFINED: Final = 0
IMAGE_NOT_FOUND: Final = 11
SUBJECT_ALREADY_EXISTS: Final = 43
_INVALID, _PARAMETER_MISSING, _PART_MISSING, _SERVICE_FAILED = 26, 33, 34, 41
_CODES: Mapping[str, int] = MappingProxyType(
    {
        "key_missing": 20,
        "key_invalid": 10,
        "key_forbidden": 10,
        "host_not_allowed": 10,
        "proxy_not_allowed": 10,
        "not_an_image": 21,
        "unsupported_image": 21,
        "undecodable_image": 21,
        "too_many_pixels": 21,
        "pixel_budget_spent": 21,
        "image_too_large": 21,
        "unsupported_body": 21,
        "no_face": 28,
        "face_too_small": 28,
        "several_faces": 31,
        "invalid_request": _INVALID,
        "low_quality": _INVALID,
        "inconsistent": _INVALID,
        "liveness_token_needed": _INVALID,
        "not_live": _INVALID,
        "subject_not_found": 42,
        "subject_exists": SUBJECT_ALREADY_EXISTS,
        "templates_expired": 42,
        "template_not_found": 44,
    }
)
# CompreFace answers every faulty request with 400. Faults of the service, and errors that say when
# to try again, keep their status, so that a client can tell them apart.
_BAD_REQUEST = frozenset(
    {
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.CONFLICT,
        HTTPStatus.NOT_ACCEPTABLE,
    }
)
_PHOTOS = frozenset({"file", "source_image", "target_image"})


def refusal(status: int, code: int, message: str) -> JSONResponse:
    """Return an answer that only CompreFace's API gives."""
    return JSONResponse({"message": message, "code": code}, status)


def translate(problem: Problem) -> Translation:
    """Return a problem in CompreFace's form."""
    # A photo is named only as the client named it; a single one is an element of a list here.
    sentence = problem.sentence if _PHOTOS.issuperset(problem.photos) else problem.detail
    sentences = [sentence] if problem.advice is None else [sentence, problem.advice]
    answer = json.dumps({"message": " ".join(sentences), "code": _code(problem)}).encode()
    status = HTTPStatus.BAD_REQUEST if problem.status in _BAD_REQUEST else problem.status
    return Translation(int(status), answer, "application/json")


def _code(problem: Problem) -> int:
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _SERVICE_FAILED
    missing = {each.field for each in problem.errors or () if each.message == "Field required"}
    if missing:
        return _PART_MISSING if missing & _PHOTOS else _PARAMETER_MISSING
    return _CODES.get(problem.code, UNDEFINED)
