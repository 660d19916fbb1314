"""The largest batch that fits in memory: learnt from memory errors, raised again with care."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class BatchLimit:
    """Hold the largest batch size that fits: a power of two, at most `max_batch`.

    An out-of-memory error halves it. After `patience` full batches in a row it is doubled on
    trial, for as many batches again. Each failed trial doubles the wait before the next one, so
    that the service does not test a limit of the memory for ever.
    """

    def __init__(self, max_batch: int, patience: int = 64) -> None:
        self._most = _shape(max_batch)
        self._patience = self._wait = patience
        self._streak = 0
        self._on_trial = False
        self.value = self._most

    def shapes(self) -> list[int]:
        """Return all batch sizes, smallest first: 1, 2, 4, ... up to the limit."""
        return [1 << power for power in range(self.value.bit_length())]

    def full(self, waiting: int) -> int:
        """Return the largest batch size that `waiting` crops fill; 0 for no crops."""
        return min(self.value, _shape(waiting))

    def cut(self, items: Sequence[T]) -> list[Sequence[T]]:
        """Cut items into full batches, none larger than the limit."""
        parts, start = [], 0
        while start < len(items):
            size = self.full(len(items) - start)
            parts.append(items[start : start + size])
            start += size
        return parts

    def fitted(self, size: int) -> None:
        """Record that a batch of this size succeeded."""
        if size < self.value or (self.value == self._most and not self._on_trial):
            return
        self._streak += 1
        if self._streak < self._wait:
            return
        self._streak = 0
        if self._on_trial:
            self._on_trial = False
            self._wait = self._patience
        else:
            self._on_trial = True
            self.value *= 2

    def overflowed(self, size: int) -> None:
        """Record that a batch of this size did not fit in memory."""
        self._streak = 0
        if size > self.value:
            return  # this batch was formed before the limit was lowered
        if self._on_trial:
            self._on_trial = False
            self._wait *= 2
        self.value = max(1, size // 2)


def _shape(count: int) -> int:
    """Return the largest power of two that is at most `count`; 0 for 0."""
    return 1 << (count.bit_length() - 1) if count else 0
