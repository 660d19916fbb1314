"""The files of the pages at `/ui`, listed one by one: nothing else is ever served."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

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
