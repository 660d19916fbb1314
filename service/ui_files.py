"""The files of the pages at `/ui`, listed one by one: nothing else is ever served."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

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


@dataclass(frozen=True, slots=True)
class UiFile:
    """Hold one file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def read_files() -> Mapping[str, UiFile]:
    """Read all files once, by the path that each is served at."""
    return {PAGE if name == NAMES[0] else f"{PAGE}/{name}": _read(name) for name in NAMES}


def _read(name: str) -> UiFile:
    content = (files("service") / "ui" / name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return UiFile(content, _KINDS[name.rpartition(".")[2]], etag)
