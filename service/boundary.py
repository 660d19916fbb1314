"""The outermost layer: request ids, counts and times, and the answer of last resort."""

import logging
import re
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import IMAGE_ROUTES
from service.metrics import Metrics
from service.problems import internal_error

logger = logging.getLogger("likeness")

HEADER = "x-request-id"
# What is logged and sent back must not break either.
_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE = 499


class Boundary:
    """Give every request an id, count it by route and code, and answer what nobody caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        started = perf_counter()
        # A request that is never answered is one whose client went away.
        code = _CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("request %s failed", request_id)
            if code != _CLIENT_GONE:
                raise
            await internal_error(request_id)(scope, receive, send_with_id)
        finally:
            self._metrics.request(_template(scope), code, perf_counter() - started)


def _request_id(given: str | None) -> str:
    return given if given and _HARMLESS.fullmatch(given) else uuid4().hex


def _template(scope: Scope) -> str:
    """Return the route's template: paths hold ids, and there are too many of them."""
    route = scope.get("route")
    if isinstance(route, Route):
        return route.path
    # Refused before it was routed.
    return str(scope["path"]) if scope["path"] in IMAGE_ROUTES else "unmatched"
