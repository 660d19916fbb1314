"""Run something over many items in batches that fit the memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import torch

from models.errors import OutOfMemory

T = TypeVar("T")
R = TypeVar("R")


class FittedBatches(Generic[T, R]):
    """Halve the batch whenever memory runs out, say so once, and go on where it stopped."""

    def __init__(
        self, run: Callable[[Sequence[T]], R], size: int, note: Callable[[str], None]
    ) -> None:
        self._run = run
        self._note = note
        self.size = size

    def __call__(self, items: Sequence[T]) -> Iterator[R]:
        """Yield the result of every batch, in order; raises OutOfMemory if one item is too much."""
        done = 0
        while done < len(items):
            part = items[done : done + self.size]
            result = self._attempt(part)
            if result is None:
                # Out here nothing refers to the failed pass any more: its traceback held it.
                self._shrink(len(part))
                continue
            done += len(part)
            yield result

    def _attempt(self, part: Sequence[T]) -> R | None:
        try:
            return self._run(part)
        except OutOfMemory:
            if len(part) == 1:
                raise
            return None

    def _shrink(self, failed: int) -> None:
        self.size = failed // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._note(f"A batch of {failed} does not fit the memory; going on with {self.size}.")
