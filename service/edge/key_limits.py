"""How much one key may ask for: so many photos a second, and so many at a time.

A request counts as many as it brings photos, and as one if it brings none.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from pydantic import BaseModel
from starlette.types import Scope

from service.errors import KeyBusy
from service.store import ApiKey

KEY_USE: Final = "key_use"


@dataclass(slots=True)
class _Left:
    """Hold what a key has left as of a moment, less than nothing perhaps, and how many run."""

    left: float
    at: float
    running: int = 0


@dataclass(slots=True)
class KeyUse:
    """Hold how much one request uses of what its key has."""

    of: _Left
    counted: int = 0

    def count(self, requests: int) -> None:
        """Use up so many in all, once it is known how many they are."""
        more = requests - self.counted
        self.of.left -= more
        self.of.running += more
        self.counted = requests


class KeyLimits:
    """Count requests by key; owned by the event loop of one process.

    What a key may in a second may come in one burst, of one at least. Every replica counts its
    own. How many photos a request brings is known once it is read: it is served if the key had
    one left, and what it brings beyond is waited for afterwards.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._left: dict[str, _Left] = {}

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[KeyUse]:
        """Hold the right to one request. Raises KeyBusy at once if there is none now."""
        now = self._clock()
        left = self._left.setdefault(key.key_id, _Left(math.inf, now))
        if key.at_once is not None and left.running >= key.at_once:
            raise KeyBusy(
                f"The key has {left.running} photos and requests without any running; it may have "
                f"{key.at_once}."
            )
        if key.per_s is not None:
            left.left = min(max(1.0, key.per_s), left.left + (now - left.at) * key.per_s)
            left.at = now
            if left.left < 1:
                raise KeyBusy(
                    f"The key may send {key.per_s:g} photos, or requests without any, a second.",
                    retry_after_s=math.ceil((1 - left.left) / key.per_s),
                )
        use = KeyUse(left)
        use.count(1)
        try:
            yield use
        finally:
            left.running -= use.counted


def count_photos(scope: Scope, form: BaseModel) -> None:
    """Let a request that has been read use up one for each photo that it brings."""
    use = scope.get("state", {}).get(KEY_USE)
    if isinstance(use, KeyUse):
        use.count(max(1, _photos(form)))


def _photos(value: object) -> int:
    match value:
        case bytes():
            return 1
        case list():
            return sum(map(_photos, value))
        case BaseModel():
            return sum(_photos(each) for _, each in value)
        case _:
            return 0
