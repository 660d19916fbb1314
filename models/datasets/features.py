"""From photo files to the features of the frozen encoder, no photo twice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.crops import Cutter
from models.datasets.feature_cache import FeatureCache, Features
from models.datasets.fitted import FittedBatches
from models.datasets.folders import read_photo_file
from models.embedder import Embedder
from models.errors import DegenerateVector
from models.photo.face import Pixels

_PHOTOS_AT_ONCE = 1024

Progress = Callable[[int, int], None]


def ignore(done: int, of: int) -> None:
    """Report progress to nobody."""


def silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Hold `features` `(n, views, w)` of n photos, zeros where a photo has none.

    `digests` are the SHA-256 of the photos' bytes, "" where there is no file. `rejected`
    says by image why it has no features.
    """

    features: NDArray[np.float32]
    digests: list[str]
    rejected: dict[str, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        return np.asarray(self.features.any(axis=(1, 2)))

    def at(self, places: NDArray[np.int64], images: Sequence[str]) -> "Extracted":
        """Return the photos at these places; `images` `(n,)` names all of them."""
        chosen = [images[at] for at in places]
        rejected = {name: self.rejected[name] for name in chosen if name in self.rejected}
        return Extracted(self.features[places], [self.digests[at] for at in places], rejected)


class Extractor:
    """Detect, align and crop photos in processes while the encoder works on others.

    `batch` is where fitting it to memory starts; `note` is told when it did not fit.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: FeatureCache | None = None,
        *,
        batch: int | None = None,
        note: Callable[[str], None] = silent,
    ) -> None:
        self._embedder = embedder
        self._cache = cache
        size = batch or (256 if embedder.device.type == "cuda" else 32)
        self._batches = FittedBatches[Pixels, Features](embedder.features, size, note)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the views of a photo and the width of their features."""
        bundle = self._embedder.bundle
        return (1 + bundle.manifest.pixels.mirror, bundle.encoder.width)

    def __call__(
        self, images: Sequence[str], folder: Path, progress: Progress = ignore
    ) -> Extracted:
        """Take the photos `images` below `folder`, in their order."""
        digests = [_digest(folder / image) for image in images]
        known = {} if self._cache is None else self._cache.find(digests)
        known |= {"": "missing"}
        bundle = self._embedder.bundle
        wanted = {d: folder / image for d, image in zip(digests, images, strict=True)}
        files = {digest: file for digest, file in wanted.items() if digest not in known}
        progress(len(images) - len(files), len(images))
        with Cutter(bundle.detector, bundle.manifest.pixels.framing) as cutter:
            places = list(files)
            for start in range(0, len(places), _PHOTOS_AT_ONCE):
                part = {digest: files[digest] for digest in places[start : start + _PHOTOS_AT_ONCE]}
                entries = self._take(part, cutter)
                if self._cache is not None:
                    self._cache.add(entries, self.shape)
                known |= entries
                progress(len(images) - len(files) + start + len(part), len(images))
        return self._gather(images, digests, known)

    def _take(self, files: Mapping[str, Path], cutter: Cutter) -> dict[str, Features | str]:
        entries: dict[str, Features | str] = {}
        crops: dict[str, Pixels] = {}
        results = cutter(list(files.values()))
        for digest, result in zip(files, results, strict=True):
            if isinstance(result, str):
                entries[digest] = result
                continue
            crops[digest] = result
            if len(crops) >= self._batches.size:
                entries |= self._encode(crops)
                crops = {}
        return entries | self._encode(crops)

    def _encode(self, crops: Mapping[str, Pixels]) -> dict[str, Features | str]:
        parts = list(self._batches(list(crops.values())))
        rows = np.concatenate(parts) if parts else np.empty((0, *self.shape), np.float32)
        return {
            digest: row if np.isfinite(row).all() and row.any() else DegenerateVector.code
            for digest, row in zip(crops, rows, strict=True)
        }

    def _gather(
        self, images: Sequence[str], digests: list[str], known: Mapping[str, Features | str]
    ) -> Extracted:
        features = np.zeros((len(images), *self.shape), np.float32)
        rejected: dict[str, str] = {}
        for at, (image, digest) in enumerate(zip(images, digests, strict=True)):
            entry = known[digest]
            if isinstance(entry, str):
                rejected[image] = entry
            else:
                features[at] = entry
        return Extracted(features, digests, rejected)


def _digest(file: Path) -> str:
    try:
        return sha256(read_photo_file(file)).hexdigest()
    except OSError:
        return ""
