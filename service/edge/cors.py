"""Let pages of named origins call from a browser, and no others."""

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
    """Answer a browser's question before it sends a request, which shows no key yet.

    What a browser sends without asking, such as a form, is refused to pages of other origins:
    they could not read the answer, but somebody would be enrolled.
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
        """Refuse with a problem what is refused."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == 200 else problem(_refusal())

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        # The scheme may have been changed on the way, by what ends TLS; the host is ours.
        ours = origin is None or origin.partition("://")[2] == headers.get("host")
        return not (ours or origin in self.allow_origins)


def _refusal() -> MethodNotAllowed:
    return MethodNotAllowed("Pages of this origin may not ask this from a browser.")
