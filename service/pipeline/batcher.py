"""Micro-batches: crops of many requests share a forward pass, and nobody else's fate.

The event loop owns the queue, so there is nothing to lock. One thread per device runs the
encoder. A batch is formed at the last moment, when the encoder is free: while it is busy,
crops collect by themselves, and a lone crop never waits for company. Shapes are powers of
two and always full; padding would compute for nobody.

    submit -> FairQueue -> lane -> Forward -> EncoderThread
"""

import asyncio
import logging
import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from models.errors import DeviceLost, LikenessError
from service.errors import DeadlinePassed, Draining, EncoderStalled, EncoderStopped, QueueFull
from service.observe.metrics import DropReason
from service.pipeline.batch_limit import BatchLimit
from service.pipeline.encoder_thread import EncoderThread
from service.pipeline.fair_queue import FairQueue
from service.pipeline.forward import Forward
from service.pipeline.job import Crop, EncodedCrop, Job, Observer, SilentObserver

__all__ = ["Batcher", "Crop", "Embed", "EncodedCrop", "Observer", "SilentObserver"]

logger = logging.getLogger("likeness")

R = TypeVar("R")
Embed = Callable[[Sequence[Crop]], Sequence[R | LikenessError]]


class Batcher(Generic[R]):
    """Collect crops into batches for one device.

    `max_batch` is rounded down to a power of two. `prefetch` batches are handed to the
    thread ahead of the one that runs. `gather_ms` waits so long for a fuller batch, for
    benchmarks; a lone crop and a full batch never pay it. A forward pass of more than
    `watchdog_s` fails everybody at once; should it return after all, the batcher serves
    again. `on_fatal` is called once, when only a new process can get the device back.
    """

    def __init__(
        self,
        embed: Embed[R],
        *,
        observer: Observer | None = None,
        max_batch: int = 8,
        max_queue: int = 64,
        queue_timeout_s: float = 2.0,
        gather_ms: float = 0.0,
        prefetch: int = 0,
        watchdog_s: float = 30.0,
        retry_s: float = 5.0,
        on_fatal: Callable[[], None] = lambda: None,
    ) -> None:
        self._observer = observer or SilentObserver()
        self._max_queue = max_queue
        self._queue_timeout_s = queue_timeout_s
        self._gather_s = gather_ms / 1000
        self._retry_s = retry_s
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._thread: EncoderThread[Crop, R | LikenessError] = EncoderThread(embed, watchdog_s)
        self._limit = BatchLimit(max_batch)
        self._forward: Forward[R] = Forward(self._thread, self._limit, self._observer)
        self._queue: FairQueue[Job[R]] = FairQueue()
        self._running: set[Job[R]] = set()
        self._has_jobs, self._batch_full, self._idle = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        self._idle.set()
        self._closing = self._lost = False
        self._sample: Crop | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._lanes = [asyncio.create_task(self._lane()) for _ in range(1 + prefetch)]
        for lane in self._lanes:
            lane.add_done_callback(self._ended)

    @property
    def limit(self) -> int:
        """Return the most crops in one forward pass, as memory allows now."""
        return self._limit.value

    @property
    def alive(self) -> bool:
        """Tell whether loop and thread work and no forward pass hangs."""
        lanes = not any(lane.done() for lane in self._lanes)
        return lanes and not self._lost and self._thread.alive

    @property
    def ready(self) -> bool:
        """Tell whether a crop submitted now has a chance and pays for no warm-up."""
        warm = self._sample is not None
        return warm and self.alive and not self._closing and self._forward.fits

    async def submit(
        self, crop: Crop, *, caller: Hashable = None, deadline: float | None = None
    ) -> EncodedCrop[R]:
        """Embed a crop with whatever else waits; `deadline` is in the loop's time.

        Crops of one `caller` take turns with those of others. Raises QueueFull before it
        waits; DeadlinePassed, never having computed; EncoderFailed if this very crop makes
        the encoder raise; OutOfMemory, DeviceLost, WrongRowCount, EncoderStalled,
        EncoderStopped, Draining, and what the encoder answers in the crop's place.
        """
        self._check_open()
        until = self._loop.time() + self._queue_timeout_s if deadline is None else deadline
        job: Job[R] = Job(crop, caller, until, self._loop.create_future())
        if caller is None:
            job.caller = job
        timer = self._loop.call_at(until, self._expire, job)
        self._push(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            self._drop(job, "cancelled")
            raise
        finally:
            timer.cancel()

    async def warm(self, sample: Crop) -> None:
        """Run every batch shape once, so that no request pays for it, and fit the limit.

        Raises what the encoder raises: a service that cannot embed must not start.
        """
        await self._forward.rehearse(sample)
        self._sample = sample

    async def close(self, drain_s: float = 10.0) -> None:
        """Refuse what comes, serve what waits for so long, fail the rest."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        self._fail_all(Draining, "The service has shut down.", "shutdown")
        if self._retry is not None:
            self._retry.cancel()
        for lane in self._lanes:
            lane.cancel()
        self._thread.stop()

    def _check_open(self) -> None:
        if self._closing:
            raise Draining("The service is shutting down.")
        if self._lost:
            raise DeviceLost("The device is lost until the service is started again.")
        if self._thread.stalled:
            raise EncoderStalled("A forward pass hangs.")
        if not self.alive:
            raise EncoderStopped("The encoder has ended.")
        if len(self._queue) >= self._max_queue:
            self._observer.dropped("queue_full")
            raise QueueFull(f"{len(self._queue)} faces wait for the encoder already.")

    def _push(self, job: Job[R]) -> None:
        self._queue.push(job.caller, job)
        self._changed()

    def _drop(self, job: Job[R], reason: DropReason) -> bool:
        """Take a job out of the queue; tell whether it was still there."""
        if not self._queue.discard(job.caller, job):
            return False
        self._observer.dropped(reason)
        self._changed()
        return True

    def _expire(self, job: Job[R]) -> None:
        if self._drop(job, "deadline"):
            job.fail(DeadlinePassed("The encoder was busy for too long."))

    def _changed(self) -> None:
        """Let everybody who waits on the queue see what it has become."""
        waiting = len(self._queue)
        self._observer.queue_depth(waiting)
        for event, holds in (
            (self._has_jobs, waiting > 0),
            (self._batch_full, waiting >= self.limit),
            (self._idle, not waiting and not self._running),
        ):
            if holds:
                event.set()
            else:
                event.clear()

    async def _lane(self) -> None:
        """Take batches to the encoder, one after the other."""
        while True:
            await self._has_jobs.wait()
            await self._gather()
            jobs = self._take()
            try:
                await self._forward.serve(jobs)
            except EncoderStalled as error:
                if self._running:
                    self._observer.batch_failed("stalled")
                self._fail_all(EncoderStalled, error.sentence, "stalled")
            except DeviceLost as error:
                self._lose(error)
            self._running.difference_update(jobs)
            self._changed()
            if not self._forward.fits:
                self._retry_later()

    async def _gather(self) -> None:
        if self._gather_s and len(self._queue) > 1:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._gather_s):
                    await self._batch_full.wait()

    def _take(self) -> list[Job[R]]:
        """Form the next batch: the largest full shape, one crop per caller in turn."""
        now = self._loop.time()
        for job in list(self._queue):
            # A caller who has just gone, or a loop that comes late: timers have not run yet.
            if job.future.done():
                self._drop(job, "cancelled")
            elif job.deadline <= now:
                self._expire(job)
        jobs = [self._queue.pop() for _ in range(self._limit.full(len(self._queue)))]
        self._running.update(jobs)
        self._changed()
        return jobs

    def _retry_later(self) -> None:
        """Try the sample after a while: who is not ready gets no callers to succeed with."""
        if self._sample is not None and self._retry is None:
            self._retry = self._loop.call_later(self._retry_s, self._try_sample, self._sample)

    def _try_sample(self, sample: Crop) -> None:
        self._retry = None
        if self.alive and not self._closing:
            job: Job[R] = Job(sample, self, math.inf, self._loop.create_future())
            job.future.add_done_callback(asyncio.Future.exception)
            self._push(job)

    def _lose(self, error: DeviceLost) -> None:
        """Fail everybody and say so: only a new process gets the device back."""
        self._fail_all(DeviceLost, error.sentence, "device_lost")
        if not self._lost:
            self._lost = True
            self._observer.batch_failed("device_lost")
            self._on_fatal()

    def _ended(self, lane: asyncio.Task[None]) -> None:
        """Fail whoever waits if a lane itself dies: nobody may wait for ever."""
        if not lane.cancelled() and lane.exception() is not None:
            logger.error("the batcher ended", exc_info=lane.exception())
        self._fail_all(EncoderStopped, "The encoder has ended.", "stopped")

    def _fail_all(self, error: type[LikenessError], sentence: str, reason: DropReason) -> None:
        for job in self._running:
            job.fail(error(sentence))
        for job in self._queue.drain():
            self._observer.dropped(reason)
            job.fail(error(sentence))
        self._running.clear()
        self._changed()
