"""Say problems in another service's words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.problems import MEDIA_TYPE
from service.schemas.problem import Problem


@dataclass(frozen=True, slots=True)
class Translation:
    """Hold a problem as another service would answer it."""

    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Translated:
    """Translate the problems of the requests that are another service's, those of all layers.

    Outside what counts and logs, where a problem is called what it is called here.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_theirs: Callable[[Scope], bool],
        translate: Callable[[Problem], Translation],
    ) -> None:
        self._app = app
        self._is_theirs = is_theirs
        self._translate = translate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_theirs(scope):
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
                start, body = self._in_their_words(held, message["body"])
                held, message = None, {**message, "body": body}
                await send(start)
            await send(message)

        await self._app(scope, receive, translated)

    def _in_their_words(self, start: Message, body: bytes) -> tuple[Message, bytes]:
        told = self._translate(Problem.model_validate_json(body))
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"] = told.media_type
        headers["content-length"] = str(len(told.body))
        headers.update(told.headers)
        return {**start, "status": told.status, "headers": headers.raw}, told.body
