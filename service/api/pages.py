"""Pages for people at `/ui`: files as they are, which use nothing but the API."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from service.api.made_once import Page
from service.api.ui_files import read_files

# Scripts, styles and pictures of ours alone; no text is ever taken for a script or for markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


def ui_router() -> APIRouter:
    """Return the routes of the pages, one a file."""
    router = APIRouter(include_in_schema=False)
    for path, page in read_files().items():
        router.add_api_route(path, _sender(page), response_model=None)
    return router


def _sender(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return page.answer(request, _HEADERS)

    return send
