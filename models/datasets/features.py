"""From photo files to the features of the frozen encoder, no photo twice."""

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


class FeatureCache:
    """Remember what became of a photo by the SHA-256 of its bytes.

    An entry is features `(views, w)` float32, or the code of the error that the photo gave.
    Every `add` writes one more file, whole or not at all, so that a killed run loses what it
    had not added, and two runs may share a folder.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def find(self, digests: Collection[str]) -> dict[str, Features | str]:
        """Return what is remembered of the photos with these digests."""
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
                continue  # a damaged file costs time, not a run: its photos are taken again
        return found

    def add(self, entries: Mapping[str, Features | str], shape: tuple[int, ...]) -> None:
        """Remember these; `shape` is that of the features, `(views, w)`."""
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
    """Name what features depend on besides the photo: encoder, crop, precision, detector.

    Neither the head nor the sum over mirrored views is part of it: views are kept apart.
    """
    pixels = replace(bundle.manifest.pixels, mirror=False)
    return f"{fingerprint(bundle.encoder, None, pixels)[:32]}-{precision}-{bundle.detector.name}"


T = TypeVar("T")
R = TypeVar("R")


class AdaptiveBatches(Generic[T, R]):
    """Halve the batch whenever memory runs out, say so once, and go on where it stopped."""

    def __init__(
        self, run: Callable[[Sequence[T]], R], size: int, note: Callable[[str], None]
    ) -> None:
        self._run = run
        self._note = note
        self.size = size

    def __call__(self, items: Sequence[T]) -> Iterator[R]:
        """Yield the result of every batch, in order; raises OutOfMemory if one item is too much."""
        done = 0
        while done < len(items):
            part = items[done : done + self.size]
            result = self._attempt(part)
            if result is None:
                # Out here nothing refers to the failed pass any more: its traceback held it.
                self._shrink(len(part))
                continue
            done += len(part)
            yield result

    def _attempt(self, part: Sequence[T]) -> R | None:
        try:
            return self._run(part)
        except OutOfMemory:
            if len(part) == 1:
                raise
            return None

    def _shrink(self, failed: int) -> None:
        self.size = failed // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._note(f"A batch of {failed} does not fit the memory; going on with {self.size}.")


_PHOTOS_AT_ONCE = 1024

Progress = Callable[[int, int], None]


def no_progress(done: int, of: int) -> None:
    """Report progress to nobody."""


def no_note(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
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

    def at(self, places: NDArray[np.int64], images: Sequence[str]) -> "FeatureSet":
        """Return the photos at these places; `images` `(n,)` names all of them."""
        chosen = [images[at] for at in places]
        rejected = {name: self.rejected[name] for name in chosen if name in self.rejected}
        return FeatureSet(self.features[places], [self.digests[at] for at in places], rejected)


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
        note: Callable[[str], None] = no_note,
    ) -> None:
        self._embedder = embedder
        self._cache = cache
        size = batch or (256 if embedder.device.type == "cuda" else 32)
        self._batches = AdaptiveBatches[Pixels, Features](embedder.features, size, note)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the views of a photo and the width of their features."""
        bundle = self._embedder.bundle
        return (1 + bundle.manifest.pixels.mirror, bundle.encoder.width)

    def __call__(
        self, images: Sequence[str], folder: Path, progress: Progress = no_progress
    ) -> FeatureSet:
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


@dataclass(frozen=True, slots=True)
class VectorSet:
    """Hold `vectors` `(n, d)` of unit length and pooled `features` `(n, w)`, zeros where none.

    `rejected` says by image why it has none.
    """

    vectors: NDArray[np.float32]
    features: NDArray[np.float32]
    rejected: dict[str, str]

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        return np.asarray(self.vectors.any(axis=1))


def embed(labelled: LabelledSet, bundle: Bundle, progress: Progress = no_progress) -> VectorSet:
    """Embed the photos in their order; `progress` is told how many of how many are done."""
    extractor = Extractor(Embedder(bundle, torch.device("cpu"), "fp32"))
    return apply_head(labelled, extractor(labelled.images, labelled.folder, progress), bundle.head)


def apply_head(labelled: LabelledSet, extracted: FeatureSet, head: Head | None) -> VectorSet:
    """Turn the features of labelled photos into vectors."""
    vectors = unit_vectors(head, torch.from_numpy(extracted.features)).numpy()
    usable = are_unit(vectors) & extracted.usable
    lost = {
        image: DegenerateVector.code
        for image, good in zip(labelled.images, usable, strict=True)
        if not good
    }
    features = np.where(usable[:, None], extracted.features.sum(1), 0)
    vectors = np.where(usable[:, None], vectors, 0)
    return VectorSet(vectors, features, lost | extracted.rejected)


def embed_photos(labelled: LabelledSet, bundle: Bundle) -> NDArray[np.float32]:
    """Return `(n, d)` unit vectors in the order of the images; a row of zeros where none."""
    return embed(labelled, bundle).vectors
