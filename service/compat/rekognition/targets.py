"""Which requests are Rekognition's, what a key must be good for there, and which take photos."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from service.schemas.requests import Scope as KeyScope

PATH: Final = "/"
TARGET: Final = "x-amz-target"
_SERVICE = "RekognitionService"

# What is not listed is the administrator's.
_SCOPES: Final[dict[str, KeyScope]] = {
    "CompareFaces": "verify",
    "DetectFaces": "verify",
    "SearchFaces": "verify",
    "SearchFacesByImage": "verify",
    "IndexFaces": "enroll",
}
_TAKE_PHOTOS = frozenset({"CompareFaces", "DetectFaces", "IndexFaces", "SearchFacesByImage"})


def operation_of(scope: Scope) -> str | None:
    """Return the operation that a request names, known or not; None if it is not Rekognition's."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
        return None
    service, _, name = Headers(scope=scope).get(TARGET, "").partition(".")
    return name if service == _SERVICE else None


def is_ours(scope: Scope) -> bool:
    """Tell whether a request is Rekognition's."""
    return operation_of(scope) is not None


def scope_of(operation: str) -> KeyScope:
    """Return the scope that a key needs."""
    return _SCOPES.get(operation, "admin")


def takes_photos(scope: Scope) -> bool:
    """Tell whether a request brings a photo, and so needs a permit."""
    return operation_of(scope) in _TAKE_PHOTOS
