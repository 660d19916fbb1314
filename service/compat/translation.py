"""Answer problems in the form of another service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.problems import MEDIA_TYPE
from service.schemas.problem import Problem


@dataclass(frozen=True, slots=True)
class Translation:
    """Hold the answer that another service would give to a problem."""

    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ProblemTranslator:
    """Translate the problems that requests to another service's API get, from every layer.

    It is outside the layer that counts and logs, so metrics and logs show the codes of this
    service.
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
        start_of_problem: Message | None = None

        async def translate(message: Message) -> None:
            nonlocal start_of_problem
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                    start_of_problem = message
                    return
            elif start_of_problem is not None:
                # A problem is sent as one message.
                start, body = self._translated(start_of_problem, message["body"])
                start_of_problem, message = None, {**message, "body": body}
                await send(start)
            await send(message)

        await self._app(scope, receive, translate)

    def _translated(self, start: Message, body: bytes) -> tuple[Message, bytes]:
        translation = self._translate(Problem.model_validate_json(body))
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"] = translation.media_type
        headers["content-length"] = str(len(translation.body))
        headers.update(translation.headers)
        return {**start, "status": translation.status, "headers": headers.raw}, translation.body
