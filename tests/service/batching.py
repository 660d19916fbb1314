"""An encoder that tests hold by a gate, an observer that remembers, and a batcher over both."""

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from models.errors import LikenessError
from service.observe.metrics import DropReason, FailReason
from service.pipeline.batcher import Batcher, Crop, EncodedCrop

Rule = Callable[[list[int]], Sequence[int | LikenessError]]
PATIENCE_S = 30.0


def crop(number: int) -> Crop:
    """Return a crop `(1,)` uint8 that the encoder turns into ten times its number."""
    return np.array([number], np.uint8)


def tenfold(numbers: list[int]) -> list[int | LikenessError]:
    """Be an encoder without trouble."""
    return [10 * number for number in numbers]


class Encoder:
    """Follow a rule; keep what it was given; wait in a pass while the gate is shut."""

    def __init__(self, rule: Rule = tenfold) -> None:
        self.rule = rule
        self.batches: list[list[int]] = []
        self._gate = threading.Event()
        self._gate.set()
        self._begun = threading.Semaphore(0)

    def __call__(self, crops: Sequence[Crop]) -> Sequence[int | LikenessError]:
        numbers = [int(one[0]) for one in crops]
        self.batches.append(numbers)
        self._begun.release()
        assert self._gate.wait(PATIENCE_S)
        return self.rule(numbers)

    def hold(self) -> None:
        """Let no pass end."""
        self._gate.clear()

    def let_go(self) -> None:
        """Let passes end again."""
        self._gate.set()

    async def begun(self) -> None:
        """Wait until one more pass has begun."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE_S)


@dataclass
class Recorder:
    """Remember what a batcher tells."""

    depths: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    drops: Counter[DropReason] = field(default_factory=Counter)
    failures: Counter[FailReason] = field(default_factory=Counter)

    def queue_depth(self, depth: int) -> None:
        self.depths.append(depth)

    def batch(self, size: int, seconds: float) -> None:
        self.sizes.append(size)

    def batch_limit(self, limit: int) -> None:
        self.limits.append(limit)

    def dropped(self, reason: DropReason) -> None:
        self.drops[reason] += 1

    def batch_failed(self, reason: FailReason) -> None:
        self.failures[reason] += 1


@asynccontextmanager
async def batching(
    encoder: Encoder,
    *,
    observer: Recorder | None = None,
    max_batch: int = 8,
    max_queue: int = 256,
    queue_timeout_s: float = PATIENCE_S,
    gather_ms: float = 0.0,
    prefetch: int = 0,
    watchdog_s: float = PATIENCE_S,
    retry_s: float = PATIENCE_S,
    on_fatal: Callable[[], None] = lambda: None,
) -> AsyncIterator[Batcher[int]]:
    """Open a batcher, and check at the end that no future's error was overlooked."""
    overlooked: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: overlooked.append(what))
    batcher: Batcher[int] = Batcher(
        encoder,
        observer=observer,
        max_batch=max_batch,
        max_queue=max_queue,
        queue_timeout_s=queue_timeout_s,
        gather_ms=gather_ms,
        prefetch=prefetch,
        watchdog_s=watchdog_s,
        retry_s=retry_s,
        on_fatal=on_fatal,
    )
    try:
        yield batcher
    finally:
        encoder.let_go()
        await batcher.close(PATIENCE_S)
    gc.collect()
    assert overlooked == []


Task = asyncio.Task[EncodedCrop[int]]


async def submitted(
    batcher: Batcher[int],
    *numbers: int,
    caller: Hashable = None,
    deadline: float | None = None,
) -> list[Task]:
    """Submit crops, in order, and return while they wait."""
    tasks = [
        asyncio.create_task(batcher.submit(crop(number), caller=caller, deadline=deadline))
        for number in numbers
    ]
    await asyncio.sleep(0)  # one turn of the loop: each task runs up to its wait
    return tasks


async def occupy(batcher: Batcher[int], encoder: Encoder, number: int = 0) -> Task:
    """Submit one crop and hold the encoder in its pass."""
    encoder.hold()
    [task] = await submitted(batcher, number)
    await encoder.begun()
    return task


async def outcomes(tasks: Sequence[Task]) -> list[int | type[BaseException]]:
    """Return each task's row, or the class of its error."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(one) if isinstance(one, BaseException) else one.row for one in results]
