"""What each route needs: a key with which scope, and whether it takes photos."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from starlette.types import Scope

from service.api.pages import PATHS
from service.edge.access import Need

_OPEN: Final = Need(None, is_open=True)

# Every other route needs the scope `admin`: the gallery, its keys, a change of bundle.
NEEDS: Final[Mapping[str, Need]] = MappingProxyType(
    {
        "/verify": Need("verify", photos=True),
        "/identify": Need("verify", photos=True),
        "/enroll": Need("enroll", photos=True),
        "/embed": Need("embed", photos=True),
        "/change/reembed": Need("admin", photos=True),
        "/model": Need(None),
        # These tell in which state the service is, and how to use it.
        "/livez": _OPEN,
        "/readyz": _OPEN,
        "/metrics": _OPEN,
        "/docs": _OPEN,
        "/openapi.json": _OPEN,
        **dict.fromkeys(PATHS, _OPEN),
    }
)

OPEN_PATHS: Final = frozenset(path for path, need in NEEDS.items() if need.is_open)
PHOTO_PATHS: Final = frozenset(path for path, need in NEEDS.items() if need.photos)


def needs(scope: Scope) -> Need | None:
    """Return what a request needs, None if its path is not listed."""
    need = NEEDS.get(scope["path"])
    if need is not None and need.photos and scope["method"] != "POST":
        return replace(need, photos=False)
    return need
