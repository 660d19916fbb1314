"""Micro-batches: crops of many requests share a forward pass; a bad crop fails its request only.

The event loop owns the queue, so there are no locks. One thread per device runs the encoder. A
batch is formed at the last moment, when the encoder is free: crops collect in the queue while it
is busy, and a single crop never waits for others. Batch sizes are powers of two and batches are
always full, so that no time is lost on padding.

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

    `max_batch` is rounded down to a power of two. `prefetch` is how many batches the thread gets
    ahead of the batch that runs. `gather_ms` is how long a batch waits for more crops, which
    bulk jobs use; a single crop and a full batch do not wait. If a forward pass takes more than
    `watchdog_s`, all requests fail at once; if it returns later, the batcher serves again.
    `on_fatal` is called once, when only a new process can get the device back.
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
        self._forward: Forward[R] = Forward(self._thread, max_batch, self._observer)
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
            lane.add_done_callback(self._lane_ended)

    @property
    def limit(self) -> int:
        """Return the largest batch that memory allows now."""
        return self._forward.limit.value

    @property
    def alive(self) -> bool:
        """Tell whether the lanes and the thread work and no forward pass hangs."""
        lanes = not any(lane.done() for lane in self._lanes)
        return lanes and not self._lost and self._thread.alive

    @property
    def ready(self) -> bool:
        """Tell whether the batcher is alive and warm, accepts crops and has memory for one."""
        warm = self._sample is not None
        return warm and self.alive and not self._closing and self._forward.fits

    async def submit(
        self, crop: Crop, *, caller: Hashable = None, deadline: float | None = None
    ) -> EncodedCrop[R]:
        """Embed a crop, in one batch with others that wait; `deadline` is in the loop's time.

        Crops of one `caller` take turns with crops of other callers. Raises QueueFull at once if
        the queue is full; DeadlinePassed if the crop waited too long, before any computation;
        EncoderFailed if this crop makes the encoder raise; OutOfMemory, DeviceLost,
        WrongRowCount, EncoderStalled, EncoderStopped, Draining; and the error that the encoder
        returns in place of the crop's row.
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
        """Run every batch size once, so that no request waits for warm-up, and set the limit.

        Raises the encoder's errors: a service that cannot embed must not start.
        """
        await self._forward.rehearse(sample)
        self._sample = sample

    async def close(self, drain_s: float = 10.0) -> None:
        """Refuse new crops, serve waiting ones for at most `drain_s`, and fail the rest."""
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
            raise EncoderStopped("The encoder has stopped.")
        if len(self._queue) >= self._max_queue:
            self._observer.dropped("queue_full")
            raise QueueFull(f"{len(self._queue)} faces already wait for the encoder.")

    def _push(self, job: Job[R]) -> None:
        self._queue.push(job.caller, job)
        self._update_events()

    def _drop(self, job: Job[R], reason: DropReason) -> bool:
        """Remove a job from the queue; tell whether it was still there."""
        if not self._queue.discard(job.caller, job):
            return False
        self._observer.dropped(reason)
        self._update_events()
        return True

    def _expire(self, job: Job[R]) -> None:
        if self._drop(job, "deadline"):
            job.fail(DeadlinePassed("The encoder was busy for too long."))

    def _update_events(self) -> None:
        """Set the events and the gauge by the queue's length; call it after every change."""
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
        """Send batches to the encoder, one after the other."""
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
            self._update_events()
            if not self._forward.fits:
                self._retry_later()

    async def _gather(self) -> None:
        if self._gather_s and len(self._queue) > 1:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._gather_s):
                    await self._batch_full.wait()

    def _take(self) -> list[Job[R]]:
        """Form the next batch: the largest full size, one crop per caller in turn."""
        now = self._loop.time()
        for job in list(self._queue):
            # The caller has just gone, or the loop is late and the job's timer has not run yet.
            if job.future.done():
                self._drop(job, "cancelled")
            elif job.deadline <= now:
                self._expire(job)
        jobs = [self._queue.pop() for _ in range(self._forward.limit.full(len(self._queue)))]
        self._running.update(jobs)
        self._update_events()
        return jobs

    def _retry_later(self) -> None:
        """Embed the sample after a while.

        A replica that is not ready gets no requests, so the sample tests whether it works again.
        """
        if self._sample is not None and self._retry is None:
            self._retry = self._loop.call_later(self._retry_s, self._try_sample, self._sample)

    def _try_sample(self, sample: Crop) -> None:
        self._retry = None
        if self.alive and not self._closing:
            job: Job[R] = Job(sample, self, math.inf, self._loop.create_future())
            job.future.add_done_callback(asyncio.Future.exception)
            self._push(job)

    def _lose(self, error: DeviceLost) -> None:
        """Fail all jobs and call `on_fatal`: only a new process can get the device back."""
        self._fail_all(DeviceLost, error.sentence, "device_lost")
        if not self._lost:
            self._lost = True
            self._observer.batch_failed("device_lost")
            self._on_fatal()

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        """Fail all jobs if a lane ends, so that no request waits for ever."""
        if not lane.cancelled() and lane.exception() is not None:
            logger.error("the batcher stopped", exc_info=lane.exception())
        self._fail_all(EncoderStopped, "The encoder has stopped.", "stopped")

    def _fail_all(self, error: type[LikenessError], sentence: str, reason: DropReason) -> None:
        for job in self._running:
            job.fail(error(sentence))
        for job in self._queue.drain():
            self._observer.dropped(reason)
            job.fail(error(sentence))
        self._running.clear()
        self._update_events()
