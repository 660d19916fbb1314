"""Cut aligned crops from many photo files at once, for training and evaluation."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from models.detectors import DlibDetector
from models.errors import LikenessError
from models.face import Pixels, align, find
from models.image import decode

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"})


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


def photos_in(folder: Path) -> list[Path]:
    """List the photo files below a folder in a stable order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)


def cut(files: Sequence[Path], root: Path, size: int, margin: float, workers: int = 2) -> CropSet:
    """Detect and align the largest face of every file, in parallel processes."""
    names, crops, rejected = [], [], {}
    for file, result in _cut_each(files, size, margin, workers):
        name = file.relative_to(root).as_posix()
        if isinstance(result, str):
            rejected[name] = result
        else:
            names.append(name)
            crops.append(result)
    stacked = np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)
    return CropSet(names, stacked, rejected)


def _cut_each(
    files: Sequence[Path], size: int, margin: float, workers: int
) -> Iterator[tuple[Path, Pixels | str]]:
    # Forked workers would inherit the locks of torch's and OpenCV's threads, but not the threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        results = pool.map(partial(_cut_one, size=size, margin=margin), files, chunksize=32)
        yield from zip(files, results, strict=True)


@cache
def _detector() -> DlibDetector:
    """Build one detector per worker process; building it takes a quarter of a second."""
    return DlibDetector()


def _cut_one(file: Path, size: int, margin: float) -> Pixels | str:
    detector = _detector()
    try:
        found = find(decode(file.read_bytes()).pixels, detector, "largest")
        return align(found, detector.template, size, margin).pixels
    except LikenessError as error:
        return error.code
