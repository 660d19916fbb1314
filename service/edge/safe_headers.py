"""Headers that tell browsers to guess nothing, keep nothing and run nothing."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.datastructures import MutableHeaders

# An answer that says otherwise, such as a page with a style of its own, is left as it is.
SAFE: Mapping[str, str] = MappingProxyType(
    {
        "x-content-type-options": "nosniff",
        # Nearly every answer is about a person.
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "cross-origin-resource-policy": "same-origin",
    }
)


def add_safe_headers(headers: MutableHeaders) -> None:
    """Add those that the answer does not set itself."""
    for name, value in SAFE.items():
        headers.setdefault(name, value)
