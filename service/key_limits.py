"""How much one key may ask for: so many requests a second, and so many at a time."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from service.errors import KeyBusy
from service.store import ApiKey


@dataclass(slots=True)
class _Use:
    """Hold what a key has left: whole requests, as of a moment, and how many run."""

    left: float
    at: float
    running: int = 0


class KeyLimits:
    """Count requests by key; owned by the event loop of one process.

    Requests a second may come in one burst of a second's worth, of one at least. Every
    replica counts its own.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[None]:
        """Hold the right to one request. Raises KeyBusy at once if there is none now."""
        now = self._clock()
        use = self._uses.setdefault(key.key_id, _Use(math.inf, now))
        if key.at_once is not None and use.running >= key.at_once:
            raise KeyBusy(f"The key has {use.running} requests running, as many as it may.")
        if key.per_s is not None:
            use.left = min(max(1.0, key.per_s), use.left + (now - use.at) * key.per_s)
            use.at = now
            if use.left < 1:
                raise KeyBusy(f"The key may send {key.per_s:g} requests a second.")
            use.left -= 1
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1
