"""The decode pool: everything a user can do wrong happens here, before the queue."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.face import Box, Detector, Policy
from models.image import Limits
from models.pixels import PixelSpec
from models.portrait import take_portrait
from models.quality import Quality, measure


@dataclass(frozen=True, slots=True)
class FaceReport:
    """Hold what was seen: `box` in the upright image, the number of faces, quarter turns."""

    box: Box
    score: float
    faces: int
    turns: int
    image_width: int
    image_height: int
    quality: Quality


@dataclass(frozen=True, slots=True)
class Prepared:
    """Hold a crop `(size, size, 3)` uint8 ready for the encoder, and seconds per stage."""

    crop: NDArray[np.uint8]
    report: FaceReport
    decode_s: float
    detect_s: float
    align_s: float


@dataclass(frozen=True, slots=True)
class Preparation:
    """Say how bytes become crops."""

    limits: Limits
    pixels: PixelSpec
    min_face_px: float


class DecodePool:
    """Decode, detect and align on a few threads, each with a detector of its own."""

    def __init__(
        self, preparation: Preparation, open_detector: Callable[[], Detector], threads: int
    ) -> None:
        self._preparation = preparation
        self._threads = threads
        self._own = threading.local()
        cv2.setNumThreads(1)  # the pool is the parallelism; OpenCV's own would oversubscribe

        def equip() -> None:
            self._own.detector = open_detector()

        self._executor = ThreadPoolExecutor(threads, "decode", initializer=equip)

    async def prepare(self, data: bytes, policy: Policy) -> Prepared:
        """Turn the bytes of a photo into a crop; raises ImageError and FaceError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._prepare, data, policy)

    async def warm(self) -> None:
        """Start every thread with its detector, so that no request waits for one."""
        barrier = threading.Barrier(self._threads)
        loop = asyncio.get_running_loop()
        # The barrier keeps a quick thread from taking a second turn in place of a new one.
        await asyncio.gather(
            *(loop.run_in_executor(self._executor, barrier.wait) for _ in range(self._threads))
        )

    def close(self) -> None:
        """Let running work end and forget what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, data: bytes, policy: Policy) -> Prepared:
        detector: Detector = self._own.detector
        preparation = self._preparation
        spec = preparation.pixels
        portrait = take_portrait(
            data,
            detector,
            policy,
            spec.size,
            spec.margin,
            preparation.limits,
            preparation.min_face_px,
        )
        found = portrait.found
        report = FaceReport(
            found.box,
            found.face.score,
            found.faces,
            found.turns,
            portrait.width,
            portrait.height,
            measure(found, portrait.crop),
        )
        return Prepared(
            portrait.crop.pixels, report, portrait.decode_s, portrait.detect_s, portrait.align_s
        )
