"""Say every problem in CompreFace's words: `{"message": ..., "code": ...}`."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.compat.compreface.paths import is_ours
from service.problem_answers import Problem
from service.problems import MEDIA_TYPE

# The numbers are those of CompreFace's `CommonExceptionCode`.
UNDEFINED: Final = 0
IMAGE_NOT_FOUND: Final = 11
WRITING_NOT_ALLOWED: Final = 32
SUBJECT_ALREADY_EXISTS: Final = 43
_INVALID, _PARAMETER_MISSING, _PART_MISSING, _SERVICE_FAILED = 26, 33, 34, 41
_CODES: Mapping[str, int] = MappingProxyType(
    {
        "key_missing": 20,
        "key_invalid": 10,
        "key_forbidden": 10,
        "not_an_image": 21,
        "undecodable_image": 21,
        "too_many_pixels": 21,
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
        "template_not_found": 44,
    }
)
# There, whatever is wrong with a request is a 400. What is none of the caller's faults, and what
# says when to come back, keeps its status: it used to be a 400 too, and nobody could tell.
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
    """Answer what only CompreFace refuses."""
    return JSONResponse({"message": message, "code": code}, status)


class CompreFaceErrors:
    """Translate the problems at CompreFace's paths, those of the other layers included.

    The outermost layer: metrics count what the problem was called here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def translated(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                    held = message
                    return
            elif held is not None:
                # A problem is one piece, the first.
                start, body = _translate(held, message["body"])
                held, message = None, {**message, "body": body}
                await send(start)
            await send(message)

        await self._app(scope, receive, translated)


def _translate(start: Message, body: bytes) -> tuple[Message, bytes]:
    problem = Problem.model_validate_json(body)
    words = [problem.detail] if problem.advice is None else [problem.detail, problem.advice]
    answer = json.dumps({"message": " ".join(words), "code": _code(problem)}).encode()
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-type"], headers["content-length"] = "application/json", str(len(answer))
    status = HTTPStatus.BAD_REQUEST if problem.status in _BAD_REQUEST else problem.status
    return {**start, "status": int(status), "headers": headers.raw}, answer


def _code(problem: Problem) -> int:
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _SERVICE_FAILED
    missing = {each.field for each in problem.errors or () if each.message == "Field required"}
    if missing:
        return _PART_MISSING if missing & _PHOTOS else _PARAMETER_MISSING
    return _CODES.get(problem.code, UNDEFINED)
