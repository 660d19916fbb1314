"""Let web pages of the allowed origins call the service from a browser, and no others."""

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.edge.problems import problem, request_id
from service.errors import MethodNotAllowed
from service.settings import Settings

_MAX_AGE_S = 600
_HARMLESS = ("GET", "HEAD", "OPTIONS")


class Cors(CORSMiddleware):
    """Answer preflight requests, which show no key, and refuse writes from foreign pages.

    A browser sends some requests, such as forms, without a preflight request. A foreign page could
    not read the answer, but it could enrol a person.
    """

    def __init__(self, app: ASGIApp, settings: Settings, answer_headers: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("authorization", "idempotency-key", "x-api-key", "x-request-id"),
            expose_headers=("retry-after", "x-request-id", *answer_headers),
            max_age=_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] not in _HARMLESS and self._is_foreign(Headers(scope=scope)):
            await problem(_refusal(), request_id(scope))(scope, receive, send)
        elif self.allow_origins:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request; a refusal is a problem."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == 200 else problem(_refusal())

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        # Only the host is compared: a proxy that ends TLS changes the scheme.
        ours = origin is None or origin.partition("://")[2] == headers.get("host")
        return not (ours or origin in self.allow_origins)


def _refusal() -> MethodNotAllowed:
    return MethodNotAllowed(
        "Web pages of this origin may not send this request. LIKENESS_CORS_ORIGINS allows origins."
    )
