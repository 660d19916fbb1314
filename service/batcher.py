"""Micro-batches: crops of many requests share a forward pass, and nobody else's fate.

The event loop owns the queue, so there is nothing to lock. One thread per device runs the
encoder. A batch is formed at the last moment, when the encoder is free: while it is busy,
crops collect by themselves, and a lone crop never waits for company. Shapes are powers of
two and always full; padding would compute for nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import DeviceLost, LikenessError, OutOfMemory, WrongRowCount
from service.batch_limit import BatchLimit
from service.encoder_thread import EncoderThread, Pass
from service.errors import (
    DeadlinePassed,
    Draining,
    EncoderFailed,
    EncoderStalled,
    EncoderStopped,
    QueueFull,
)
from service.fair_queue import FairQueue

logger = logging.getLogger("likeness")

R = TypeVar("R")
Crop = NDArray[np.uint8]
Embed = Callable[[Sequence[Crop]], Sequence[R | LikenessError]]

# One crop that does not fit may be bad luck; three in a row are a device without memory.
_HOPELESS = 3


class Observer(Protocol):
    """Be told what the batcher does; called on the event loop."""

    def queue_depth(self, depth: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def batch_limit(self, limit: int) -> None: ...
    def dropped(self, reason: str) -> None: ...
    def batch_failed(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """Hold a crop's row, the seconds it waited and computed, and how many shared the pass."""

    row: R
    queue_s: float
    forward_s: float
    batch_size: int


@dataclass(slots=True, eq=False)
class _Job(Generic[R]):
    crop: Crop
    caller: Hashable
    future: asyncio.Future[Done[R]]
    queued_at: float
    taken_at: float = 0.0

    def fail(self, error: LikenessError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher(Generic[R]):
    """Collect crops into batches for one device.

    `ready` tells whether work is taken, `alive` whether the encoder answers. A forward pass
    that exceeds `watchdog_s` fails everybody at once; should it come back after all, the
    batcher serves again.
    """

    def __init__(
        self,
        embed: Embed[R],
        *,
        observer: Observer,
        max_batch: int = 8,
        max_queue: int = 64,
        queue_timeout_s: float = 2.0,
        gather_ms: float = 0.0,
        watchdog_s: float = 30.0,
        on_fatal: Callable[[], None] = lambda: None,
    ) -> None:
        self._thread: EncoderThread[Crop, R | LikenessError] = EncoderThread(embed)
        self._observer = observer
        self._limit = BatchLimit(max_batch)
        self._max_queue = max_queue
        self._queue_timeout_s = queue_timeout_s
        self._gather_s = gather_ms / 1000
        self._watchdog_s = watchdog_s
        self._on_fatal = on_fatal
        self._queue: FairQueue[_Job[R]] = FairQueue()
        self._running: list[_Job[R]] = []
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._refusal: LikenessError | None = None
        self._misfits = 0
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)
        observer.batch_limit(self.limit)

    @property
    def limit(self) -> int:
        """Return the most crops in one forward pass, as memory allows now."""
        return self._limit.value

    @property
    def alive(self) -> bool:
        """Tell whether loop and thread work and no forward pass hangs."""
        hangs = isinstance(self._refusal, EncoderStalled | DeviceLost)
        return not hangs and not self._task.done() and self._thread.alive

    @property
    def ready(self) -> bool:
        """Tell whether a crop submitted now has a chance."""
        return self.alive and self._refusal is None and self._misfits < _HOPELESS

    async def submit(
        self, crop: Crop, *, caller: Hashable = None, deadline: float | None = None
    ) -> Done[R]:
        """Embed a crop with whatever else waits; `deadline` is in the loop's time.

        Crops of one `caller` take turns with those of others. Raises QueueFull before it
        waits; DeadlinePassed, never having computed; EncoderFailed if this very crop makes
        the encoder raise; OutOfMemory, DeviceLost, WrongRowCount, EncoderStalled,
        EncoderStopped, Draining, and what the encoder answers in the crop's place.
        """
        self._check_open()
        if len(self._queue) >= self._max_queue:
            self._observer.dropped("queue_full")
            raise QueueFull(f"{len(self._queue)} faces wait for the encoder already.")
        now = self._loop.time()
        job: _Job[R] = _Job(crop, caller, self._loop.create_future(), now)
        if caller is None:
            job.caller = job
        self._push(job)
        until = now + self._queue_timeout_s if deadline is None else deadline
        timer = self._loop.call_at(until, self._expire, job)
        try:
            return await job.future
        except asyncio.CancelledError:
            if self._discard(job):
                self._observer.dropped("cancelled")
            raise
        finally:
            timer.cancel()

    async def warm(self, sample: Crop) -> None:
        """Run every batch shape once, so that no request pays for it, and fit the limit.

        Raises what the encoder raises: a service that cannot embed must not start.
        """
        for size in self._limit.buckets():
            result = await self._thread.order([sample] * size)
            if isinstance(result.outcome, OutOfMemory) and size > 1:
                self._note(result.outcome, size)
                return
            if isinstance(result.outcome, Exception):
                raise result.outcome

    async def close(self, drain_s: float = 10.0) -> None:
        """Refuse what comes, serve what waits for so long, fail the rest."""
        if self._refusal is None:
            self._refusal = Draining("The service is shutting down.")
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        self._fail_all(Draining("The service has shut down."), "shutdown")
        self._task.cancel()
        self._thread.stop()

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(self._refusal.sentence)
        if not self.alive:
            raise EncoderStopped("The encoder's thread has ended.")

    def _push(self, job: _Job[R]) -> None:
        self._queue.push(job.caller, job)
        self._observer.queue_depth(len(self._queue))
        self._idle.clear()
        self._arrived.set()

    def _discard(self, job: _Job[R]) -> bool:
        found = self._queue.discard(job.caller, job)
        self._observer.queue_depth(len(self._queue))
        self._rest()
        return found

    def _expire(self, job: _Job[R]) -> None:
        if self._discard(job):
            self._observer.dropped("deadline")
            waited = self._loop.time() - job.queued_at
            job.fail(DeadlinePassed(f"The encoder was busy for {waited:.1f} seconds."))

    def _rest(self) -> None:
        """Note that there is nothing to do, if so."""
        if not self._queue:
            self._arrived.clear()
            if not self._running:
                self._idle.set()

    async def _run(self) -> None:
        while not isinstance(self._refusal, DeviceLost):
            await self._arrived.wait()
            if self._gather_s and 1 < len(self._queue) < self.limit:
                await asyncio.sleep(self._gather_s)
            self._running = self._take()
            await self._serve(self._running)
            self._running = []
            self._rest()

    def _take(self) -> list[_Job[R]]:
        """Form the next batch: the largest full shape, one crop per caller in turn."""
        now = self._loop.time()
        jobs = [self._queue.pop() for _ in range(self._limit.bucket(len(self._queue)))]
        for job in jobs:
            job.taken_at = now
        self._observer.queue_depth(len(self._queue))
        return jobs

    async def _serve(self, jobs: list[_Job[R]]) -> None:
        """Embed a batch; halve what fails until only who is to blame fails."""
        parts = [jobs]
        while parts:
            part = parts.pop()
            order = self._thread.order([job.crop for job in part])
            try:
                async with asyncio.timeout(self._watchdog_s):
                    result = await asyncio.shield(order)
            except TimeoutError:
                await self._wait_for_stalled(order)
                return
            outcome = result.outcome
            if not isinstance(outcome, Exception):
                self._scatter(part, outcome, result.seconds)
            elif isinstance(outcome, DeviceLost):
                self._lose(outcome)
                return
            elif len(part) > 1:
                self._note(outcome, len(part))
                # The half of a shape is a shape: nothing new is compiled or warmed.
                half = len(part) // 2
                parts += [part[half:], part[:half]]
            else:
                self._blame(part[0], outcome)

    def _scatter(
        self, jobs: Sequence[_Job[R]], rows: Sequence[R | LikenessError], seconds: float
    ) -> None:
        """Give everybody their own row; a row too many or too few makes all of them doubtful."""
        size = len(jobs)
        if len(rows) != size:
            self._observer.batch_failed("wrong_rows")
            for job in jobs:
                job.fail(WrongRowCount(f"The encoder gave {len(rows)} rows for {size} faces."))
            return
        self._observer.batch(size, seconds)
        self._misfits = 0
        self._limit.fitted(size)
        self._observer.batch_limit(self.limit)
        for job, row in zip(jobs, rows, strict=True):
            if isinstance(row, LikenessError):
                job.fail(row)
            elif not job.future.done():
                waited = job.taken_at - job.queued_at
                job.future.set_result(Done(row, waited, seconds, size))

    def _note(self, error: Exception, size: int) -> None:
        """Count a failed pass, and learn from it if it was the memory."""
        if isinstance(error, OutOfMemory):
            self._limit.overflowed(size)
            self._observer.batch_limit(self.limit)
            self._observer.batch_failed("out_of_memory")
        else:
            self._observer.batch_failed("raised")

    def _blame(self, job: _Job[R], error: Exception) -> None:
        """Fail the one caller whose crop cannot be embedded even alone."""
        self._note(error, 1)
        if isinstance(error, OutOfMemory):
            self._misfits += 1
        if isinstance(error, LikenessError):
            job.fail(error)
        else:
            failed = EncoderFailed("The encoder failed on this face and on no other.")
            failed.__cause__ = error
            job.fail(failed)

    async def _wait_for_stalled(self, order: "asyncio.Future[Pass[R | LikenessError]]") -> None:
        """Fail everybody at once, then wait: only a pass that returns proves the thread alive."""
        self._observer.batch_failed("stalled")
        stalled = EncoderStalled(f"A forward pass takes more than {self._watchdog_s:g} seconds.")
        closing, self._refusal = self._refusal, stalled
        self._fail_all(stalled, "stalled")
        await order
        self._refusal = closing

    def _lose(self, error: DeviceLost) -> None:
        """Fail everybody and say so: only a new process gets the device back."""
        self._refusal = error
        self._observer.batch_failed("device_lost")
        self._fail_all(error, "device_lost")
        self._on_fatal()

    def _fail_all(self, error: LikenessError, reason: str) -> None:
        for job in self._running:
            job.fail(type(error)(error.sentence))
        for job in self._queue.drain():
            self._observer.dropped(reason)
            job.fail(type(error)(error.sentence))
        self._observer.queue_depth(0)
        self._rest()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail whoever waits if the batcher itself dies: nobody may wait for ever."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("the batcher ended", exc_info=task.exception())
        self._fail_all(EncoderStopped("The encoder's queue has ended."), "stopped")
