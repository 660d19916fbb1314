"""What continues a listing: where it stopped, with a sum that tells it from anything else."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from service.errors import InvalidPageToken

_SUM_BYTES: Final = 9


def write_token(listing: str, position: str | None) -> str | None:
    """Return the token of a position in a listing, None after the last page."""
    if position is None:
        return None
    return urlsafe_b64encode(_sum(listing, position) + position.encode()).decode()


def read_token(listing: str, token: str | None) -> str | None:
    """Return the position that a token of the same listing stands for. Raises InvalidPageToken."""
    if token is None:
        return None
    try:
        position = urlsafe_b64decode(token)[_SUM_BYTES:].decode()
    except ValueError as exc:
        raise _invalid() from exc
    if write_token(listing, position) != token:
        raise _invalid()
    return position


def _sum(listing: str, position: str) -> bytes:
    return hashlib.sha256(f"{listing}\0{position}".encode()).digest()[:_SUM_BYTES]


def _invalid() -> InvalidPageToken:
    return InvalidPageToken(
        "NextToken is none that this listing has given; leave it out to begin anew."
    )
