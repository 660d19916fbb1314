"""Cut aligned crops from many photo files in parallel, for training and evaluation."""

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
from models.datasets.tables import UNREADABLE
from models.errors import LikenessError
from models.photo.crop import crop_face
from models.photo.detectors import DetectorSource
from models.photo.face import Detector, Framing, Pixels


@dataclass(frozen=True, slots=True)
class CropSet:
    """Hold crops `(n, size, size, 3)` uint8 and the names of their files.

    `rejected` maps the name of a file without a crop to the code of its error.
    """

    names: list[str]
    crops: Pixels
    rejected: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the crops as `.npy`, which can be memory-mapped, and the names beside as `.npz`."""
        np.save(path, self.crops)
        np.savez(
            path.with_suffix(".npz"),
            names=np.array(self.names),
            rejected=np.array(list(self.rejected.items()), dtype=str).reshape(-1, 2),
        )

    @classmethod
    def load(cls, path: Path) -> "CropSet":
        """Load what `save` wrote; the crops are memory-mapped and stay on the disk until used."""
        with np.load(path.with_suffix(".npz")) as index:
            names = [str(name) for name in index["names"]]
            rejected = {str(name): str(reason) for name, reason in index["rejected"]}
        return cls(names, np.load(path, mmap_mode="r"), rejected)


class Cutter:
    """Cut out the largest face of many files, in worker processes that live as long as the cutter.

    `detector` finds the faces and `framing` says how they are cut.
    """

    def __init__(
        self, detector: DetectorSource, framing: Framing, workers: int | None = None
    ) -> None:
        self._cut = partial(_cut_one, source=detector, framing=framing)
        # A forked process would inherit the locks of the threads of torch and OpenCV, but not the
        # threads, and could wait for ever.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, files: Sequence[Path]) -> Iterator[Pixels | str]:
        """Yield a crop `(size, size, 3)` or the code of an error for every file, in order.

        All files are started at once, so all their crops must fit the memory.
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
    """Cut out the largest face of every file, in parallel processes."""
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
    """Start processes that ignore Ctrl-C, and delay it for this process until they are started.

    A terminal sends Ctrl-C to all processes, and every worker would print a traceback. So would a
    worker whose parent stops while it sends work.
    """
    signals: list[int] = []
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is not None:
            signal.signal(signal.SIGINT, before)
            if signals:
                signal.raise_signal(signal.SIGINT)


def _begin() -> None:
    """Prepare a worker process: use one core, and end with the parent."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent ends; otherwise it would wait for work for ever."""
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
