"""The pages for people at `/ui`: static files that use nothing but the API."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response

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
# The page itself is served without a file name.
PATHS: Final = frozenset({PAGE, *(f"{PAGE}/{name}" for name in NAMES[1:])})


@dataclass(frozen=True, slots=True)
class StaticPage:
    """Hold a page that is the same for every client; `etag` names its version."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "StaticPage":
        """Return a page whose `etag` is taken from the SHA-256 of its content."""
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:24]}"')

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Send the page, or 304 if the client has this version already."""
        # `no-cache`: the client asks each time, so that files of two releases are never mixed.
        headers = {**headers, "etag": self.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def read_files() -> Mapping[str, StaticPage]:
    """Read all files once; keys are the paths that they are served at."""
    return {PAGE if name == NAMES[0] else f"{PAGE}/{name}": _read(name) for name in NAMES}


def _read(name: str) -> StaticPage:
    content = (files("service.api") / "ui" / name).read_bytes()
    return StaticPage.of(content, _KINDS[name.rpartition(".")[2]])


# Allows only scripts, styles and pictures of this service, and never runs text as a script.
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
    """Return the routes of the pages, one per file."""
    router = APIRouter(include_in_schema=False)
    for path, page in read_files().items():
        router.add_api_route(path, _sender(page), response_model=None)
    return router


def _sender(page: StaticPage) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return page.answer(request, _HEADERS)

    return send
