"""Pages for people at `/ui`: files as they are, which use nothing but the API."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from service.ui_files import UiFile, read_files

# Scripts, styles and pictures of ours alone; no text is ever taken for a script or for markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    # Asked for again each time, and sent only if it is new: files of two releases must not mix.
    "cache-control": "no-cache",
}


def ui_router() -> APIRouter:
    """Return the routes of the pages, one a file."""
    router = APIRouter(include_in_schema=False)
    for path, file in read_files().items():
        router.add_api_route(path, _sender(file), response_model=None)
    return router


def _sender(file: UiFile) -> Callable[[Request], Awaitable[Response]]:
    headers = {**_HEADERS, "etag": file.etag}

    async def send(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").removeprefix("W/")
        if known == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return send
