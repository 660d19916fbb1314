"""Which paths are CompreFace's, what a key must be good for there, and which take photos."""

import re
from typing import Final

from service.schemas.requests import Scope

PREFIX: Final = "/api/v1"

_TAKE_PHOTOS: Final[dict[str, Scope]] = {
    r"/verification/verify": "verify",
    r"/recognition/recognize": "verify",
    r"/recognition/faces/[^/]+/verify": "verify",
    r"/detection/detect": "verify",
    r"/recognition/faces": "enroll",
}
# Comparing vectors of one's own with the gallery is not among them: as many answers as a vector
# has numbers tell an enrolled one exactly. So that is the administrator's, as exports are.
_OTHERS: Final[dict[str, Scope]] = {
    r"/verification/embeddings/verify": "verify",
    r"/recognition/subjects": "enroll",
}


def is_ours(path: str) -> bool:
    """Tell whether a path is one of CompreFace's, whether or not there is anything at it."""
    return path.startswith(f"{PREFIX}/")


def scope_of(method: str, path: str) -> Scope:
    """Return the scope that a key needs; what is not listed is the administrator's."""
    return (_find(_TAKE_PHOTOS | _OTHERS, path) if method == "POST" else None) or "admin"


def takes_photos(method: str, path: str) -> bool:
    """Tell whether a request brings a photo, and so needs a permit."""
    return method == "POST" and is_ours(path) and _find(_TAKE_PHOTOS, path) is not None


def _find(routes: dict[str, Scope], path: str) -> Scope | None:
    matching = (scope for route, scope in routes.items() if re.fullmatch(PREFIX + route, path))
    return next(matching, None)
