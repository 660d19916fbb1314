"""Which paths are CompreFace's, which scope a key needs there, and which of them take photos."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.types import Scope

from service.edge.access import Need
from service.schemas.requests import Scope as KeyScope

PREFIX: Final = "/api/v1"

# Requests to these paths, by POST, bring photos.
_PHOTO_SCOPES: Final[Mapping[str, KeyScope]] = MappingProxyType(
    {
        r"/verification/verify": "verify",
        r"/recognition/recognize": "verify",
        r"/recognition/faces/[^/]+/verify": "verify",
        r"/detection/detect": "verify",
        r"/recognition/faces": "enroll",
    }
)
# Also by POST. The routes that compare the caller's vectors with the gallery are missing here, so
# they need `admin`, as exports do: from as many answers as a vector has numbers, a caller could
# compute an enrolled vector exactly.
_OTHER_SCOPES: Final[Mapping[str, KeyScope]] = MappingProxyType(
    {
        r"/verification/embeddings/verify": "verify",
        r"/recognition/subjects": "enroll",
    }
)


def is_compreface(scope: Scope) -> bool:
    """Tell whether a request is to a path of CompreFace's, whether or not there is a route."""
    return str(scope["path"]).startswith(f"{PREFIX}/")


def needs(scope: Scope) -> Need | None:
    """Return what a request needs, None if it is not CompreFace's.

    CompreFace's clients always send a key. As long as no key is needed it can be any key, such as
    one of the CompreFace server that they used before.
    """
    if not is_compreface(scope):
        return None
    with_photos = _find(_PHOTO_SCOPES, scope)
    return Need(
        with_photos or _find(_OTHER_SCOPES, scope) or "admin",
        photos=with_photos is not None,
        ignores_foreign_keys=True,
    )


def _find(scopes: Mapping[str, KeyScope], request: Scope) -> KeyScope | None:
    if request["method"] != "POST":
        return None
    path = request["path"]
    matches = (scope for route, scope in scopes.items() if re.fullmatch(PREFIX + route, path))
    return next(matches, None)
