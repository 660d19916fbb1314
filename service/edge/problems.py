"""Answer errors as `application/problem+json` (RFC 9457), without internals or input."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import LikenessError
from service.edge.paths import methods_at
from service.errors import (
    ClientGone,
    FieldError,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
    invalid_fields,
    retry_after_s,
    status,
)
from service.schemas.problem import FieldProblem, Problem

logger = logging.getLogger("likeness")

MEDIA_TYPE = "application/problem+json"
PROBLEM = "problem"
_FIELD_CHARACTERS = 64
_MESSAGE_CHARACTERS = 300
# FastAPI's names for the place of a parameter, which mean nothing to a caller.
_PLACES = frozenset({"body", "query", "path", "header", "cookie"})


class _ProblemResponse(Response):
    """Tell the outermost layer the code of the problem; send nothing if the client is gone."""

    def __init__(self, error: LikenessError, body: str, headers: Mapping[str, str]) -> None:
        super().__init__(body, status(error), headers, MEDIA_TYPE)
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[PROBLEM] = self._error.code
        if not isinstance(self._error, ClientGone):
            await super().__call__(scope, receive, send)


def problem(error: LikenessError, request_id: str | None = None) -> Response:
    """Return the response for an error; for ClientGone it sends nothing."""
    code = status(error)
    wait_s = retry_after_s(error)
    # The sentence of an internal error may name files and devices.
    detail = error.sentence if code != 500 else "The service failed; its log has the reason."
    if isinstance(error, InvalidRequest):
        fields = error.errors
    else:
        fields = tuple(FieldError(photo, detail) for photo in error.photos)
    body = Problem(
        type=f"urn:likeness:problem:{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=code,
        detail=detail,
        code=error.code,
        advice=error.advice,
        request_id=request_id,
        errors=[FieldProblem(field=e.field, message=e.message) for e in fields] or None,
    )
    headers = {} if wait_s is None else {"retry-after": str(wait_s)}
    if code == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return _ProblemResponse(error, body.model_dump_json(exclude_none=True), headers)


def internal_error(request_id: str | None) -> Response:
    """Return the last-resort answer; the log has the details under the request id."""
    return problem(LikenessError("unexpected"), request_id)


def request_id(scope: Scope) -> str | None:
    """Return the id that the outermost layer gave to a request, None if it gave none."""
    value = scope.get("state", {}).get("request_id")
    return value if isinstance(value, str) else None


def field_errors(errors: Sequence[Mapping[str, object]]) -> tuple[FieldError, ...]:
    """Return the names and messages of pydantic's errors, without the input."""
    return tuple(
        FieldError(
            _field_name(error.get("loc")),
            str(error.get("msg")).removeprefix("Value error, ")[:_MESSAGE_CHARACTERS],
        )
        for error in errors
    )


def printable(name: str) -> str:
    """Shorten a name that a caller chose, and make it safe to print."""
    return name.encode("ascii", "backslashreplace").decode("ascii")[:_FIELD_CHARACTERS]


def install(app: FastAPI) -> None:
    """Let an app answer every known error with a problem.

    Unknown errors reach the outermost layer, which answers `internal_error`.
    """
    app.add_exception_handler(LikenessError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, LikenessError)
    if status(exc) == 500:
        logger.error("%s", exc.code, exc_info=exc)
    # The frames of its traceback hold the photos, and often the error itself.
    return problem(exc.without_trace(), request_id(request.scope))


async def _on_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    error = invalid_fields(field_errors(exc.errors()))
    return problem(error, request_id(request.scope))


async def _on_http(request: Request, exc: Exception) -> Response:
    """Answer the errors of the framework with our own codes."""
    assert isinstance(exc, HTTPException)
    match exc.status_code:
        case 404:
            error: LikenessError = RouteNotFound("There is no route at this path; see /docs.")
        case 405:
            error = MethodNotAllowed("This path does not take this method; see /docs.")
        case code if code < 500:
            error = InvalidRequest("The request is malformed.")
        case _:
            error = LikenessError("unexpected")
    response = problem(error, request_id(request.scope))
    response.headers.update(exc.headers or {})
    if exc.status_code == 405:
        response.headers["allow"] = ", ".join(methods_at(request.scope))
    return response


def _field_name(location: object) -> str:
    parts = [str(part) for part in location] if isinstance(location, tuple | list) else []
    if len(parts) > 1 and parts[0] in _PLACES:
        parts = parts[1:]
    return printable(".".join(parts)) or "body"
