"""One crop on its way through the batcher, and who is told about it."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import LikenessError

R = TypeVar("R")
Crop = NDArray[np.uint8]

Dropped = Literal[
    "cancelled", "deadline", "queue_full", "shutdown", "stalled", "stopped", "device_lost"
]
Failed = Literal["raised", "out_of_memory", "wrong_rows", "stalled", "device_lost"]


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """Hold a crop's row, the seconds it waited and computed, and how many shared the pass.

    A pass that failed and was repeated in parts counts as waiting.
    """

    row: R
    queue_s: float
    forward_s: float
    batch_size: int


@dataclass(slots=True, eq=False)
class Job(Generic[R]):
    """Hold a crop, whose turn it takes, until when it may wait (loop time), and its future."""

    crop: Crop
    caller: Hashable
    deadline: float
    future: asyncio.Future[Done[R]]
    queued_at: float = field(default_factory=perf_counter)

    def succeed(self, row: R, started: float, seconds: float, size: int) -> None:
        """Give the caller their row, unless they have gone."""
        if not self.future.done():
            self.future.set_result(Done(row, started - self.queued_at, seconds, size))

    def fail(self, error: LikenessError) -> None:
        """Give the caller an error, unless they have gone or have one."""
        if not self.future.done():
            self.future.set_exception(error)


class Observer(Protocol):
    """Be told what the batcher does; called on the event loop."""

    def queue_depth(self, depth: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def batch_limit(self, limit: int) -> None: ...
    def dropped(self, reason: Dropped) -> None: ...
    def batch_failed(self, reason: Failed) -> None: ...


class Silent:
    """Observe nothing."""

    def queue_depth(self, depth: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def batch_limit(self, limit: int) -> None: ...
    def dropped(self, reason: Dropped) -> None: ...
    def batch_failed(self, reason: Failed) -> None: ...
