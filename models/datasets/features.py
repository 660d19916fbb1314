"""Turn photo files into features or vectors, and never encode the same photo twice.

`embed` turns labelled photos into vectors. It uses an `Extractor`, which cuts out the faces and
runs the encoder, and then applies the head. A `FeatureCache` keeps features between runs, and
`AdaptiveBatches` finds the largest batch that fits the memory.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, fingerprint
from models.cohort import are_unit
from models.datasets.atomic import atomic_write
from models.datasets.crops import Cutter
from models.datasets.folders import read_photo_file
from models.datasets.labelled import LabelledSet
from models.embedder import Embedder, unit_vectors
from models.encoder.device import Precision
from models.encoder.head import Head
from models.errors import DegenerateVector, OutOfMemory
from models.photo.face import Pixels

Features = NDArray[np.float32]
Progress = Callable[[int, int], None]

_PHOTOS_AT_ONCE = 1024


def no_progress(done: int, of: int) -> None:
    """Ignore the progress."""


def no_note(line: str) -> None:
    """Ignore the note."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Hold the `features` `(n, views, w)` of n photos.

    A photo without features has zeros, and `rejected` maps its name to the code of the error.
    `digests` are the SHA-256 of the files, "" if there is no file.
    """

    features: NDArray[np.float32]
    digests: list[str]
    rejected: dict[str, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        return np.asarray(self.features.any(axis=(1, 2)))

    def at(self, places: NDArray[np.int64], images: Sequence[str]) -> "FeatureSet":
        """Return the set of the photos at these places; `images` are the names of all n photos."""
        chosen = [images[at] for at in places]
        rejected = {name: self.rejected[name] for name in chosen if name in self.rejected}
        return FeatureSet(self.features[places], [self.digests[at] for at in places], rejected)


@dataclass(frozen=True, slots=True)
class VectorSet:
    """Hold the `vectors` `(n, d)` of unit length and the `features` `(n, w)` of n photos.

    A photo without a vector has zeros, and `rejected` maps its name to the code of the error.
    """

    vectors: NDArray[np.float32]
    features: NDArray[np.float32]
    rejected: dict[str, str]

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        return np.asarray(self.vectors.any(axis=1))


def embed(labelled: LabelledSet, bundle: Bundle, progress: Progress = no_progress) -> VectorSet:
    """Embed labelled photos in their order; `progress` gets how many of how many are done."""
    extractor = Extractor(Embedder(bundle, torch.device("cpu"), "fp32"))
    return apply_head(labelled, extractor(labelled.images, labelled.folder, progress), bundle.head)


def apply_head(labelled: LabelledSet, photos: FeatureSet, head: Head | None) -> VectorSet:
    """Turn the features of labelled photos into vectors."""
    vectors = unit_vectors(head, torch.from_numpy(photos.features)).numpy()
    usable = are_unit(vectors) & photos.usable
    degenerate = {
        image: DegenerateVector.code
        for image, good in zip(labelled.images, usable, strict=True)
        if not good
    }
    features = np.where(usable[:, None], photos.features.sum(1), 0)
    vectors = np.where(usable[:, None], vectors, 0)
    return VectorSet(vectors, features, degenerate | photos.rejected)


class FeatureCache:
    """Store the result of each photo in a folder, by the SHA-256 of its bytes.

    A result is the features `(views, w)` float32, or the code of the photo's error. Every `add`
    writes one more file atomically. So a killed run loses only what it had not added, and two
    runs can share a folder.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def find(self, digests: Collection[str]) -> dict[str, Features | str]:
        """Return the stored results of the photos with these digests."""
        wanted = set(digests)
        found: dict[str, Features | str] = {}
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with path.open("rb") as file, np.load(file) as part:
                    names = [str(name) for name in part["digests"]]
                    if wanted.isdisjoint(names):
                        continue
                    entries = zip(names, part["features"], part["codes"], strict=True)
                    found |= {
                        name: str(code) or row for name, row, code in entries if name in wanted
                    }
            except (OSError, ValueError, KeyError, BadZipFile):
                continue  # photos of a damaged file are encoded again
        return found

    def add(self, entries: Mapping[str, Features | str], shape: tuple[int, ...]) -> None:
        """Store results; `shape` is that of the features, `(views, w)`."""
        if not entries:
            return
        nothing = np.zeros(shape, np.float32)
        rows = [nothing if isinstance(entry, str) else entry for entry in entries.values()]
        codes = [entry if isinstance(entry, str) else "" for entry in entries.values()]
        name = sha256("".join(entries).encode()).hexdigest()[:24]
        with atomic_write(self._folder / f"{name}.npz") as file:
            digests = np.array(list(entries))
            np.savez(file, digests=digests, features=np.stack(rows), codes=np.array(codes))


def cache_key(bundle: Bundle, precision: Precision) -> str:
    """Return a name for all that features depend on: encoder, crop, precision and detector.

    The head is not part of it, nor is `mirror`, because the views are stored separately.
    """
    pixels = replace(bundle.manifest.pixels, mirror=False)
    return f"{fingerprint(bundle.encoder, None, pixels)[:32]}-{precision}-{bundle.detector.name}"


class Extractor:
    """Extract the features of photo files.

    Other processes detect and crop faces while the encoder works. `batch` is the largest batch to
    try; `note` is called with a line whenever a batch does not fit the memory.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: FeatureCache | None = None,
        *,
        batch: int | None = None,
        note: Callable[[str], None] = no_note,
    ) -> None:
        self._embedder = embedder
        self._cache = cache
        size = batch or (256 if embedder.device.type == "cuda" else 32)
        self._batches = AdaptiveBatches[Pixels, Features](embedder.features, size, note)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of views of a photo and the width of their features."""
        bundle = self._embedder.bundle
        return (1 + bundle.manifest.pixels.mirror, bundle.encoder.width)

    def __call__(
        self, images: Sequence[str], folder: Path, progress: Progress = no_progress
    ) -> FeatureSet:
        """Extract the features of the files `images` below `folder`, in their order."""
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
    ) -> FeatureSet:
        features = np.zeros((len(images), *self.shape), np.float32)
        rejected: dict[str, str] = {}
        for at, (image, digest) in enumerate(zip(images, digests, strict=True)):
            entry = known[digest]
            if isinstance(entry, str):
                rejected[image] = entry
            else:
                features[at] = entry
        return FeatureSet(features, digests, rejected)


def _digest(file: Path) -> str:
    try:
        return sha256(read_photo_file(file)).hexdigest()
    except OSError:
        return ""


T = TypeVar("T")
R = TypeVar("R")


class AdaptiveBatches(Generic[T, R]):
    """Run items in batches; if a batch does not fit the memory, halve it and go on from there.

    `note` is called with a line for every halving.
    """

    def __init__(
        self, run: Callable[[Sequence[T]], R], size: int, note: Callable[[str], None]
    ) -> None:
        self._run = run
        self._note = note
        self.size = size

    def __call__(self, items: Sequence[T]) -> Iterator[R]:
        """Yield the result of every batch in order; raises OutOfMemory if one item does not fit."""
        done = 0
        while done < len(items):
            part = items[done : done + self.size]
            try:
                result = self._run(part)
            except OutOfMemory:
                if len(part) == 1:
                    raise
            else:
                done += len(part)
                yield result
                continue
            # Here the traceback of the failed batch is gone, so its memory is free.
            self._shrink(len(part))

    def _shrink(self, failed: int) -> None:
        self.size = failed // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._note(f"A batch of {failed} does not fit the memory; going on with {self.size}.")
