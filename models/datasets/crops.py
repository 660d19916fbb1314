"""Cut aligned crops from many photo files at once, for training and evaluation."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from models.datasets.folders import read_photo_file
from models.datasets.vectors import UNREADABLE
from models.errors import LikenessError
from models.photo.crop import crop_face
from models.photo.detectors import DetectorSource
from models.photo.face import Detector, Framing, Pixels


@dataclass(frozen=True, slots=True)
class CropSet:
    """Hold crops `(n, size, size, 3)` uint8 and their files; `rejected` says why others fail."""

    names: list[str]
    crops: Pixels
    rejected: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the crops as a memory-mappable `.npy` with the names beside it as `.npz`."""
        np.save(path, self.crops)
        np.savez(
            path.with_suffix(".npz"),
            names=np.array(self.names),
            rejected=np.array(list(self.rejected.items()), dtype=str).reshape(-1, 2),
        )

    @classmethod
    def load(cls, path: Path) -> "CropSet":
        """Map what `save` wrote; the crops stay on disk until they are touched."""
        with np.load(path.with_suffix(".npz")) as index:
            names = [str(name) for name in index["names"]]
            rejected = {str(name): str(reason) for name, reason in index["rejected"]}
        return cls(names, np.load(path, mmap_mode="r"), rejected)


class Cutter:
    """Detect and align the largest face of many files, in processes that stay.

    `detector` finds the faces and `framing` says how they are cut.
    """

    def __init__(
        self, detector: DetectorSource, framing: Framing, workers: int | None = None
    ) -> None:
        self._cut = partial(_cut_one, source=detector, framing=framing)
        # Forked workers would inherit the locks of torch's and OpenCV's threads, but not the
        # threads.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, files: Sequence[Path]) -> Iterator[Pixels | str]:
        """Yield a crop `(size, size, 3)` or the error's code for every file, in order.

        All of them are begun at once: give no more files than there is room for crops.
        """
        with _uninterrupted():
            results = self._pool.map(self._cut, files, chunksize=16)
        yield from results


def cut(
    files: Sequence[Path],
    root: Path,
    detector: DetectorSource,
    framing: Framing,
    workers: int | None = None,
) -> CropSet:
    """Detect and align the largest face of every file, in parallel processes."""
    names, crops, rejected = [], [], {}
    with Cutter(detector, framing, workers) as cutter:
        for file, result in zip(files, cutter(files), strict=True):
            name = file.relative_to(root).as_posix()
            if isinstance(result, str):
                rejected[name] = result
            else:
                names.append(name)
                crops.append(result)
    size = framing.size
    stacked = np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)
    return CropSet(names, stacked, rejected)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, and hear it once they are started.

    A terminal sends it to all processes, and each would print where it was. So would one whose
    parent stopped while it told it what to do.
    """
    heard: list[int] = []
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is not None:
            signal.signal(signal.SIGINT, before)
            if heard:
                signal.raise_signal(signal.SIGINT)


def _begin() -> None:
    """Prepare a worker process: one core each, and no life after its parent's."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End once the parent has: workers of a killed one wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@cache
def _detector(source: DetectorSource) -> Detector:
    """Open one detector per worker process; opening it takes up to a quarter of a second."""
    return source.open()


def _cut_one(file: Path, source: DetectorSource, framing: Framing) -> Pixels | str:
    try:
        data = read_photo_file(file)
    except OSError:
        return UNREADABLE
    try:
        return crop_face(data, _detector(source), "largest", framing).crop.pixels
    except LikenessError as error:
        return error.code
