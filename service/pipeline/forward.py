"""One batch through the encoder: each caller gets their own row, and only the bad crop fails.

`BatchLimit` is the largest batch that fits in memory: it is learnt from memory errors, and raised
again with care.
"""

import logging
from collections.abc import Sequence
from typing import Generic, TypeVar

from models.errors import DeviceLost, LikenessError, OutOfMemory, WrongRowCount
from service.errors import EncoderFailed
from service.pipeline.encoder_thread import EncoderThread, ForwardPass
from service.pipeline.job import Crop, Job, Observer

logger = logging.getLogger("likeness")

R = TypeVar("R")
T = TypeVar("T")

# One crop that does not fit in memory may be bad luck; three in a row mean a full device.
_HOPELESS = 3


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


class Forward(Generic[R]):
    """Send batches to the encoder; halve a failed batch until only the bad crop fails."""

    def __init__(
        self,
        thread: EncoderThread[Crop, R | LikenessError],
        max_batch: int,
        observer: Observer,
    ) -> None:
        self._thread = thread
        self.limit = BatchLimit(max_batch)
        self._observer = observer
        self._misfits = 0
        observer.batch_limit(self.limit.value)

    @property
    def fits(self) -> bool:
        """Tell whether the device has memory for at least one crop."""
        return self._misfits < _HOPELESS

    async def serve(self, jobs: Sequence[Job[R]]) -> None:
        """Embed a batch and answer every job in it.

        Raises DeviceLost, EncoderStalled and EncoderStopped, which a smaller batch would not
        avoid, and leaves the jobs unanswered.
        """
        parts = [jobs]
        while parts:
            # Callers may have left and the limit may have been lowered since.
            waiting = [job for job in parts.pop() if not job.future.done()]
            if not waiting:
                continue
            part, *rest = self.limit.cut(waiting)
            parts += reversed(rest)
            result = await self._thread.order([job.crop for job in part])
            match result.outcome:
                case DeviceLost() as lost:
                    raise lost
                case Exception() as error if len(part) == 1:
                    self._blame(part[0], error)
                case Exception() as error:
                    self._note(error, len(part))
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                case rows:
                    self._scatter(part, rows, result)

    async def rehearse(self, sample: Crop) -> None:
        """Run every batch size once with a sample, and lower the limit to the largest that fits.

        Raises the encoder's errors, and WrongRowCount.
        """
        for size in self.limit.shapes():
            outcome = (await self._thread.order([sample] * size)).outcome
            if isinstance(outcome, OutOfMemory) and size > 1:
                self._note(outcome, size)
                return
            if isinstance(outcome, Exception):
                raise outcome
            if len(outcome) != size:
                raise _wrong_count(len(outcome), size)

    def _scatter(
        self,
        jobs: Sequence[Job[R]],
        rows: Sequence[R | LikenessError],
        result: ForwardPass[R | LikenessError],
    ) -> None:
        """Give each job its own row; fail all jobs if the number of rows is wrong."""
        size = len(jobs)
        if len(rows) != size:
            self._observer.batch_failed("wrong_rows")
            for job in jobs:
                job.fail(_wrong_count(len(rows), size))
            return
        self._misfits = 0
        self.limit.fitted(size)
        self._observer.batch(size, result.seconds)
        self._observer.batch_limit(self.limit.value)
        sharers = tuple(job.span for job in jobs)
        for job, row in zip(jobs, rows, strict=True):
            if isinstance(row, LikenessError):
                job.fail(row)
            else:
                job.succeed(row, result.started, result.seconds, sharers)

    def _blame(self, job: Job[R], error: Exception) -> None:
        """Fail the job whose crop cannot be embedded even alone."""
        self._note(error, 1)
        if isinstance(error, OutOfMemory):
            self._misfits += 1
        if isinstance(error, LikenessError):
            job.fail(error)
            return
        failed = EncoderFailed("The encoder failed on this face.")
        failed.__cause__ = error
        job.fail(failed)

    def _note(self, error: Exception, size: int) -> None:
        """Count a failed pass, and lower the limit if it ran out of memory."""
        if isinstance(error, OutOfMemory):
            self.limit.overflowed(size)
            self._observer.batch_limit(self.limit.value)
            self._observer.batch_failed("out_of_memory")
        else:
            logger.error("a forward pass of %d failed", size, exc_info=error)
            self._observer.batch_failed("raised")


def _wrong_count(rows: int, faces: int) -> WrongRowCount:
    return WrongRowCount(f"The encoder returned {rows} rows for {faces} faces.")
