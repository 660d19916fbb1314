"""The outermost layer: request ids, safe headers, log and metrics, and the last-resort answer."""

import hashlib
import logging
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from time import perf_counter
from types import MappingProxyType
from uuid import uuid4

from opentelemetry.trace import Span
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import release
from service.edge.guard import KEY_ID
from service.edge.problems import PROBLEM, internal_error
from service.observe.logs import REQUEST_ID, RequestRecord, log_request
from service.observe.metrics import Metrics
from service.observe.traces import add_outcome, request_span

# The defaults: an answer that sets one of these headers itself keeps its own value.
SAFE: Mapping[str, str] = MappingProxyType(
    {
        "x-content-type-options": "nosniff",
        # Nearly every answer is about a person, so no cache may keep it.
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "cross-origin-resource-policy": "same-origin",
    }
)


def add_safe_headers(headers: MutableHeaders) -> None:
    """Add the safe headers that the answer does not set itself."""
    for name, value in SAFE.items():
        headers.setdefault(name, value)


logger = logging.getLogger("likeness")

HEADER = "x-request-id"
# A client's id is logged and sent back, so it must not break log lines or headers.
_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE = 499
_UNMATCHED = "unmatched"


class Boundary:
    """Give every request an id, record how it went, and answer unexpected errors.

    Successful requests to `open_paths`, such as probes, are logged for debugging only. A request
    that is refused before it has a route is recorded as `unmatched`, or under its path if that is
    one of `photo_paths`.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        open_paths: Collection[str] = (),
        photo_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._open_paths = open_paths
        self._photo_paths = photo_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get(HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        token = REQUEST_ID.set(request_id)
        try:
            with request_span(self._metrics.tracer, headers) as span:
                await self._serve(scope, receive, send, request_id, span)
        finally:
            REQUEST_ID.reset(token)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, span: Span
    ) -> None:
        started = perf_counter()
        # The status that stands if nothing is sent, because the client went away.
        code = _CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                add_safe_headers(headers)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception as error:
            logger.exception("the request failed")
            release(error)
            if code != _CLIENT_GONE:
                raise
            await internal_error(request_id)(scope, receive, send_with_id)
        finally:
            state = scope["state"]
            self._record(
                RequestRecord(
                    request_id=request_id,
                    method=scope["method"],
                    route=self._template(scope),
                    status=code,
                    problem=state.get(PROBLEM),
                    seconds=perf_counter() - started,
                    key=_digest(state.get(KEY_ID)),
                ),
                span,
            )

    def _record(self, request: RequestRecord, span: Span) -> None:
        self._metrics.request(request.route, request.status, request.seconds)
        if request.problem is not None:
            self._metrics.problem(request.problem)
        add_outcome(span, request)
        # Probes come every few seconds, so only failures are logged.
        is_probe = request.route in self._open_paths and request.status < HTTPStatus.BAD_REQUEST
        log_request(request, logging.DEBUG if is_probe else logging.INFO)

    def _template(self, scope: Scope) -> str:
        """Return the template of the route: paths contain ids, and there are too many of them."""
        route = scope.get("route")
        if isinstance(route, Route):
            return route.path
        # The request was refused before it was routed.
        return str(scope["path"]) if scope["path"] in self._photo_paths else _UNMATCHED


def _request_id(given: str | None) -> str:
    return given if given and _HARMLESS.fullmatch(given) else uuid4().hex


def _digest(key_id: str | None) -> str | None:
    return None if key_id is None else hashlib.sha256(key_id.encode()).hexdigest()[:12]
