"""Whether a request that failed is sent again, and when."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import httpx

from service.client.call import Call
from service.client.errors import Busy, Refused, Unavailable
from service.errors import StoreUnavailable

# Nothing was sent: whatever the request is, nobody has begun to do it.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BROKEN_OFF = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Patience:
    """Say for how long a call is tried, seconds, and how the waits between grow.

    No wait begins that would end after `budget_s`; 0 is a single try. Waits are even draws
    between 0 and a bound that doubles from `first_s` to `most_s` ("full jitter"), so that those
    who failed together do not come back together; what Retry-After asks for is added.
    """

    budget_s: float = 60.0
    first_s: float = 0.25
    most_s: float = 5.0
    clock: Callable[[], float] = monotonic
    draw: Callable[[float, float], float] = random.uniform


class Tries:
    """Count the failures of one call, from when it was first asked for."""

    def __init__(self, patience: Patience, call: Call[object]) -> None:
        self._patience = patience
        self._call = call
        self._until = patience.clock() + patience.budget_s
        self._failures = 0

    def wait_s(self, failure: Refused | httpx.TransportError) -> float | None:
        """Return how long to wait before the next try, None if there is none to be made."""
        if not (self._call.patient and _may_help(failure, self._call.repeatable)):
            return None
        patience = self._patience
        bound_s = min(patience.most_s, patience.first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        wait_s = patience.draw(0.0, bound_s)
        if isinstance(failure, Refused):
            wait_s += failure.retry_after_s or 0.0
        return wait_s if patience.clock() + wait_s < self._until else None


def _may_help(failure: Refused | httpx.TransportError, repeatable: bool) -> bool:
    """Tell whether the same request can end better, and cannot be done twice by that.

    503 comes before anything is done, but for that of a store that was lost on the way.
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
