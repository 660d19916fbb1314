"""Decide whether a request that failed is sent again, and when."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import httpx

from service.client.errors import Busy, Refused, Unavailable
from service.errors import StoreUnavailable

# Nothing was sent, so the service cannot have begun anything.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BROKEN_OFF = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Patience:
    """Set for how long a request is retried, in seconds, and how the waits grow.

    A wait that would end after `budget_s` is not begun; 0 means a single try. Each wait is drawn
    evenly between 0 and a limit that doubles from `first_s` to `most_s` ("full jitter"), so that
    clients that failed together do not return together. The seconds of Retry-After are added.
    """

    budget_s: float = 60.0
    first_s: float = 0.25
    most_s: float = 5.0
    clock: Callable[[], float] = monotonic
    draw: Callable[[float, float], float] = random.uniform


class Tries:
    """Count the failures of one request since it was first sent.

    A `repeatable` request has the same effect and the same answer when it is sent twice.
    """

    def __init__(self, patience: Patience, repeatable: bool) -> None:
        self._patience = patience
        self._repeatable = repeatable
        self._until = patience.clock() + patience.budget_s
        self._failures = 0

    def wait_s(self, failure: Refused | httpx.TransportError) -> float | None:
        """Return how long to wait before the next try, None if there should be none."""
        if not _may_help(failure, self._repeatable):
            return None
        patience = self._patience
        limit_s = min(patience.most_s, patience.first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        wait_s = patience.draw(0.0, limit_s)
        if isinstance(failure, Refused):
            wait_s += failure.retry_after_s or 0.0
        return wait_s if patience.clock() + wait_s < self._until else None


def _may_help(failure: Refused | httpx.TransportError, repeatable: bool) -> bool:
    """Tell whether the same request can succeed later without being carried out twice.

    The service answers 503 before it does anything, except when it loses its store on the way.
    """
    match failure:
        case Busy():
            return True
        case Unavailable(problem=problem):
            begun = problem.status != 503 or problem.code == StoreUnavailable.code
            return repeatable or not begun
        case Refused():
            return False
    return isinstance(failure, _NEVER_SENT) or (repeatable and isinstance(failure, _BROKEN_OFF))
