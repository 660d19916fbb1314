"""Python clients of the service: `Likeness` waits for answers, `AsyncLikeness` awaits them.

Both have the same methods and the same retries (`service.client.retry`). A request that failed
and can succeed later is sent again, and an enrolment still counts once. Both raise `Refused`, or
one of its kinds in `service.client.errors`, and httpx.TransportError.
"""

from service.client.aio import DEFAULT_URL, TIMEOUT_S, AsyncLikeness
from service.client.errors import (
    Busy,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    RejectedPhoto,
    Unavailable,
)
from service.client.folders import EmbeddedPhoto, EnrolledPhoto
from service.client.retry import Patience
from service.client.rows import FloatRows
from service.client.sync import Likeness

__all__ = [
    "DEFAULT_URL",
    "TIMEOUT_S",
    "AsyncLikeness",
    "Busy",
    "EmbeddedPhoto",
    "EnrolledPhoto",
    "FloatRows",
    "Forbidden",
    "Invalid",
    "Likeness",
    "NotFound",
    "Patience",
    "Refused",
    "RejectedPhoto",
    "Unavailable",
]
