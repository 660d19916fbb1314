"""Read the target of a request exactly: its path, its query, and HEAD as GET."""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.paths import hides_a_slash
from service.edge.problems import problem, request_id
from service.errors import InvalidRequest, RequestError, RouteNotFound


class ExactTarget:
    """Refuse paths with an encoded slash and queries that are not UTF-8; the innermost layer.

    No name may contain a slash, and an encoded one does not separate the parts of a path. A query
    parameter without a value counts as left out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = _fault(scope)
            if error is not None:
                await problem(error, request_id(scope))(scope, receive, send)
                return
            given = scope["query_string"].split(b"&")
            scope["query_string"] = b"&".join(each for each in given if each.partition(b"=")[2])
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answer HEAD as GET, with the same headers and without the body (RFC 9110, 9.3.2).

    This is the outermost layer, because other layers read or change the body. So the log shows
    such a request as GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


def _fault(scope: Scope) -> RequestError | None:
    if hides_a_slash(scope):
        return RouteNotFound("There is no route at a path with an encoded slash; see /docs.")
    try:
        unquote_to_bytes(scope["query_string"]).decode()
    except UnicodeDecodeError:
        return InvalidRequest("The query is not valid UTF-8.")
    return None
