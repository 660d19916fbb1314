"""One crop on its way through the batcher, and the observer of the batcher."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Span, get_current_span

from models.errors import LikenessError
from service.observe.metrics import DropReason, FailReason

R = TypeVar("R")
Crop = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedCrop(Generic[R]):
    """Hold a crop's row, when its forward pass began, and the seconds of waiting and of the pass.

    A pass that failed and was repeated in parts counts as waiting. `started` is of
    `time.perf_counter`. `sharers` are the trace spans of the requests whose crops shared the
    pass.
    """

    row: R
    started: float
    queue_s: float
    forward_s: float
    sharers: tuple[Span, ...]

    @property
    def batch_size(self) -> int:
        """Return how many crops shared the pass."""
        return len(self.sharers)


@dataclass(slots=True, eq=False)
class Job(Generic[R]):
    """Hold a crop, its caller, its deadline in the loop's time, and the future of its row."""

    crop: Crop
    caller: Hashable
    deadline: float
    future: asyncio.Future[EncodedCrop[R]]
    queued_at: float = field(default_factory=perf_counter)
    span: Span = field(default_factory=get_current_span)

    def succeed(self, row: R, started: float, seconds: float, sharers: tuple[Span, ...]) -> None:
        """Answer the caller with the row, unless the caller has gone."""
        if not self.future.done():
            queue_s = started - self.queued_at
            self.future.set_result(EncodedCrop(row, started, queue_s, seconds, sharers))

    def fail(self, error: LikenessError) -> None:
        """Answer the caller with an error, unless there is an answer or the caller has gone."""
        if not self.future.done():
            self.future.set_exception(error)


class Observer(Protocol):
    """Observe the batcher; its methods are called on the event loop."""

    def queue_depth(self, depth: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def batch_limit(self, limit: int) -> None: ...
    def dropped(self, reason: DropReason) -> None: ...
    def batch_failed(self, reason: FailReason) -> None: ...


class SilentObserver:
    """Observe nothing."""

    def queue_depth(self, depth: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def batch_limit(self, limit: int) -> None: ...
    def dropped(self, reason: DropReason) -> None: ...
    def batch_failed(self, reason: FailReason) -> None: ...
