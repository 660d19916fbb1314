"""Pages for people at `/ui`: files as they are, which use nothing but the API."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response

from service.api.made_once import Page

PAGE: Final = "/ui"
_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
NAMES: Final = (
    "index.html",
    "style.css",
    "icon.svg",
    "app.js",
    "api.js",
    "camera.js",
    "compare.js",
    "curve.js",
    "elements.js",
    "enroll.js",
    "faces.js",
    "gallery.js",
    "live.js",
    "map.js",
    "photos.js",
    "points.js",
)
# The page itself has no name of a file.
PATHS: Final = frozenset({PAGE, *(f"{PAGE}/{name}" for name in NAMES[1:])})


def read_files() -> Mapping[str, Page]:
    """Read all files once, by the path that each is served at."""
    return {PAGE if name == NAMES[0] else f"{PAGE}/{name}": _read(name) for name in NAMES}


def _read(name: str) -> Page:
    content = (files("service.api") / "ui" / name).read_bytes()
    return Page.of(content, _KINDS[name.rpartition(".")[2]])


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
