"""Embed photos as they are and under every capture condition."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.cohort import Vectors
from models.datasets.crops import Cutter
from models.datasets.features import Progress, no_progress
from models.decision import CONDITION_NAMES, ConditionName
from models.embedder import Embedder, Row
from models.errors import LikenessError
from models.evaluation.conditions import degrade_all
from models.photo.face import Pixels

# A capture condition, or `none` for the photo as it is.
CaptureKind = ConditionName | Literal["none"]

_PHOTOS_AT_ONCE = 512
_CROPS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Captures:
    """Hold unit vectors `(n, d)` of the same photos, plain and under each condition.

    A photo without a vector has a row of zeros. `features` are the features `(n, w)` that the
    vectors were made of; those of the plain photos have the key `none`.
    """

    plain: Vectors
    degraded: Mapping[ConditionName, Vectors]
    features: Mapping[CaptureKind, Vectors]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Mark the photos `(n,)` that have a vector under every condition."""
        kinds = [self.plain, *self.degraded.values()]
        return np.asarray(np.all([vectors.any(axis=1) for vectors in kinds], axis=0))


def embed_captures(
    files: Sequence[Path],
    embedder: Embedder,
    conditions: Sequence[ConditionName] = CONDITION_NAMES,
    progress: Progress = no_progress,
) -> Captures:
    """Embed photos as they are and under conditions.

    The same photos always give the same vectors. Raises LikenessError if no photo has a face.
    """
    framing = embedder.bundle.manifest.pixels.framing
    kinds: list[CaptureKind] = ["none", *conditions]
    vectors: dict[CaptureKind, list[Vectors]] = {kind: [] for kind in kinds}
    features: dict[CaptureKind, list[Vectors]] = {kind: [] for kind in kinds}
    with Cutter(embedder.bundle.detector, framing) as cutter:
        for start in range(0, len(files), _PHOTOS_AT_ONCE):
            results = list(cutter(files[start : start + _PHOTOS_AT_ONCE]))
            face_places = [at for at, each in enumerate(results) if not isinstance(each, str)]
            crops = [each for each in results if not isinstance(each, str)]
            for kind in kinds:
                kind_crops = crops if kind == "none" else degrade_all(crops, framing, kind, start)
                own, of_encoder = _embed(kind_crops, embedder)
                vectors[kind].append(_spread(own, face_places, len(results)))
                features[kind].append(_spread(of_encoder, face_places, len(results)))
            progress(start + len(results), len(files))
    joined = {kind: np.concatenate(parts) for kind, parts in vectors.items() if parts}
    if not joined or not joined["none"].any():
        raise LikenessError("No face was found in any of these photos.")
    return Captures(
        joined["none"],
        {name: joined[name] for name in conditions},
        {kind: np.concatenate(parts) for kind, parts in features.items()},
    )


def _embed(crops: Sequence[Pixels], embedder: Embedder) -> tuple[Vectors, Vectors]:
    vectors = np.zeros((len(crops), embedder.bundle.dimension), np.float32)
    features = np.zeros((len(crops), embedder.bundle.encoder.width), np.float32)
    for at, row in enumerate(_rows(crops, embedder)):
        if isinstance(row, Row):
            vectors[at], features[at] = row.vector, row.features
    return vectors, features


def _rows(crops: Sequence[Pixels], embedder: Embedder) -> Iterator[Row | LikenessError]:
    for start in range(0, len(crops), _CROPS_AT_ONCE):
        yield from embedder(crops[start : start + _CROPS_AT_ONCE])


def _spread(vectors: Vectors, places: Sequence[int], count: int) -> Vectors:
    spread = np.zeros((count, vectors.shape[1]), np.float32)
    spread[list(places)] = vectors
    return spread
