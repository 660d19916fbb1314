"""A fair queue: one item per caller, round robin."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Hold items by caller, so that a caller with many items does not delay a caller with one.

    Only one thread may use it: there are no locks.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Iterate over all items, caller by caller."""
        for line in self._lines.values():
            yield from line

    def push(self, caller: Hashable, item: T) -> None:
        """Add an item at the end of its caller's line."""
        self._lines.setdefault(caller, deque()).append(item)
        self._length += 1

    def pop(self) -> T:
        """Remove and return the first item of the next caller; raises KeyError when empty."""
        caller, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[caller] = line
        self._length -= 1
        return item

    def discard(self, caller: Hashable, item: T) -> bool:
        """Remove an item from its caller's line; tell whether it was there."""
        line = self._lines.get(caller)
        if line is None or item not in line:
            return False
        line.remove(item)
        if not line:
            del self._lines[caller]
        self._length -= 1
        return True

    def drain(self) -> Iterator[T]:
        """Remove and yield all items."""
        while self._length:
            yield self.pop()
