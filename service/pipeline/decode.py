"""The decode pool: threads that turn the bytes of a photo into a crop, before the encoder's queue.

Every error that a photo can cause is raised here.
"""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, perf_counter
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import LikenessError, release
from models.photo import FacePolicy
from models.photo.crop import CropResult, crop_face, crop_faces
from models.photo.face import Box, Detector, Framing, Points
from models.photo.image import Limits, PixelBudget
from models.photo.quality import Quality, measure
from service.errors import DeadlinePassed, DecoderStalled
from service.observe.metrics import StageTimes
from service.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Hold the limits of one request: pixels left to decode, and a deadline in the loop's time.

    No photo is started after the deadline. The encoder's queue serves callers in turn.
    """

    pixels: PixelBudget = field(default_factory=PixelBudget)
    deadline: float = math.inf

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the caller of a request that was just read."""
        now = asyncio.get_running_loop().time()
        return cls(PixelBudget(settings.max_request_pixels), now + settings.request_timeout_s)


@dataclass(frozen=True, slots=True)
class FaceReport:
    """Describe the face of a crop, and the photo: its size, number of faces and quarter turns.

    `box` and `landmarks`, `(5, 2)` float32 in the detector's order, are in the upright image.
    """

    box: Box
    landmarks: Points = field(compare=False)
    score: float
    faces: int
    turns: int
    image_width: int
    image_height: int
    quality: Quality


@dataclass(frozen=True, slots=True)
class PreparedCrop:
    """Hold a crop `(size, size, 3)` uint8 ready for the encoder, and the times of its stages.

    `started` is when the first stage began, by `time.perf_counter`.
    """

    crop: NDArray[np.uint8]
    report: FaceReport
    started: float
    times: StageTimes


@dataclass(frozen=True, slots=True)
class CropSettings:
    """Hold the settings by which bytes become crops."""

    limits: Limits
    framing: Framing
    min_face_px: float


class DecodePool:
    """Decode, detect and align on a few threads, each with its own detector.

    Decoding cannot be interrupted. While a photo takes a thread more than `watchdog_s`, all new
    photos are refused.
    """

    def __init__(
        self,
        preparation: CropSettings,
        open_detector: Callable[[], Detector],
        threads: int,
        watchdog_s: float = 30.0,
    ) -> None:
        self._preparation = preparation
        self._threads = threads
        self._watchdog_s = watchdog_s
        # The start of each busy thread's photo, by thread id.
        self._began: dict[int, float] = {}
        self._own = threading.local()
        cv2.setNumThreads(1)  # the pool is parallel already; more threads would share its cores

        def equip() -> None:
            self._own.detector = open_detector()

        self._executor = ThreadPoolExecutor(threads, "decode", initializer=equip)

    @property
    def alive(self) -> bool:
        """Tell whether no photo has kept a thread busy for too long."""
        now = monotonic()
        return all(now - began < self._watchdog_s for began in tuple(self._began.values()))

    async def prepare(self, data: bytes, policy: FacePolicy, caller: Caller) -> PreparedCrop:
        """Turn the bytes of a photo into a crop.

        Raises ImageError, FaceError, PixelBudgetSpent, DeadlinePassed and DecoderStalled.
        """
        (prepared,) = await self._run(
            partial(self._one, data, policy, self._limits(caller)), caller
        )
        return prepared

    async def prepare_all(self, data: bytes, most: int, caller: Caller) -> list[PreparedCrop]:
        """Turn every face of a photo into a crop, `most` at most; largest first.

        Raises ImageError, FaceError, PixelBudgetSpent, DeadlinePassed and DecoderStalled.
        """
        return await self._run(partial(self._all, data, most, self._limits(caller)), caller)

    def _limits(self, caller: Caller) -> Limits:
        return replace(self._preparation.limits, budget=caller.pixels)

    async def _run(
        self, take: Callable[[], list[CropResult]], caller: Caller
    ) -> list[PreparedCrop]:
        self._check_alive()
        loop = asyncio.get_running_loop()
        work: asyncio.Future[list[PreparedCrop]] = loop.create_future()
        turn = self._executor.submit(self._work, take, work)
        try:
            # A photo may wait long for its turn, as long as the threads make progress.
            while not work.done():
                self._check_alive()
                left_s = caller.deadline - loop.time()
                if left_s <= 0 and turn.cancel():
                    raise DeadlinePassed("The request ran out of time before the photo's turn.")
                wait_s = min(self._watchdog_s, left_s) if left_s > 0 else self._watchdog_s
                await asyncio.wait((work,), timeout=wait_s)
            return work.result()
        finally:
            turn.cancel()
            work.cancel()
            # An exception keeps this frame alive; the frame must not keep the exception alive.
            del work

    async def warm(self) -> None:
        """Start every thread and its detector, so that no request waits for them."""
        barrier = threading.Barrier(self._threads)
        loop = asyncio.get_running_loop()
        # The barrier stops a fast thread from taking two tasks, which would leave one unstarted.
        await asyncio.gather(
            *(loop.run_in_executor(self._executor, barrier.wait) for _ in range(self._threads))
        )

    def close(self) -> None:
        """Finish running work and cancel waiting work."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _check_alive(self) -> None:
        if not self.alive:
            raise DecoderStalled(f"A photo takes more than {self._watchdog_s:g} seconds.")

    def _work(
        self, take: Callable[[], list[CropResult]], work: "asyncio.Future[list[PreparedCrop]]"
    ) -> None:
        # The executor's own future would keep the photo in memory.
        work.get_loop().call_soon_threadsafe(_settle, work, self._prepare(take))

    def _prepare(self, take: Callable[[], list[CropResult]]) -> list[PreparedCrop] | Exception:
        thread = threading.get_ident()
        self._began[thread] = monotonic()
        started = perf_counter()
        try:
            return [_prepared_crop(result, started) for result in take()]
        except LikenessError as error:
            return error.without_trace()
        except SystemExit:
            # In the event loop it would end the process.
            return RuntimeError("A decoder tried to end its thread.")
        except Exception as exc:
            release(exc)
            return exc
        finally:
            del self._began[thread]

    def _one(self, data: bytes, policy: FacePolicy, limits: Limits) -> list[CropResult]:
        detector: Detector = self._own.detector
        how = self._preparation
        return [crop_face(data, detector, policy, how.framing, limits, how.min_face_px)]

    def _all(self, data: bytes, most: int, limits: Limits) -> list[CropResult]:
        detector: Detector = self._own.detector
        how = self._preparation
        return crop_faces(data, detector, most, how.framing, limits, how.min_face_px)


def _settle(
    work: "asyncio.Future[list[PreparedCrop]]", outcome: list[PreparedCrop] | Exception
) -> None:
    """Set the result, unless the caller has gone."""
    if work.done():
        return
    if isinstance(outcome, Exception):
        work.set_exception(outcome)
    else:
        work.set_result(outcome)


def _prepared_crop(result: CropResult, started: float) -> PreparedCrop:
    face = result.face
    report = FaceReport(
        face.box,
        face.landmarks,
        face.face.score,
        face.face_count,
        face.turns,
        result.width,
        result.height,
        measure(face, result.crop),
    )
    return PreparedCrop(
        result.crop.pixels,
        report,
        started,
        StageTimes(result.decode_s, result.detect_s, result.align_s),
    )
