"""Scores that mean the same for everybody: how much a face resembles all others, and minus that.

A face that is like everybody's, or that a photo shows badly, has high cosines with strangers too.
How high is seen from a cohort: faces that stand for everybody. The score of two vectors is their
cosine less the mean of what both have in common with the cohort,

    score(a, b) = cos(a, b) - (m(a) + m(b)) / 2

where m of a vector is the mean of its highest cosines to the cohort. It is a symmetric and
adaptive form of cohort normalisation (Auckenthaler, Carey and Lloyd-Thomas 2000: T-norm; Matejka
et al. 2017: adaptive S-norm, here without the division by the deviation). It is also an inner
product, of (v, -m/2) and (q, 1), up to a constant of the probe: so it can be searched by.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models.errors import InvalidBundle

Vectors = NDArray[np.float32]

COHORT_FILE = "cohort.safetensors"
# What a score is at least: a cosine of -1 less the most that two faces can resemble everybody.
LOWEST_SCORE = -2.0
_ROWS_AT_ONCE = 4096
# By how much the square of a unit vector's length may be off, by rounding.
_OFF_UNIT = 2e-3


def are_unit(vectors: Vectors) -> NDArray[np.bool_]:
    """Tell which of vectors `(n, d)` are finite and of unit length: no other can be compared."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
        return np.asarray(np.abs(squares - 1) < _OFF_UNIT)  # False for NaN


class CohortCard(BaseModel):
    """Say what a bundle's cohort is: its hash, how many of its faces count, and their origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    faces: int = Field(gt=0)
    nearest: int = Field(gt=0)
    photos: str = Field(description="one sentence on the photos that its faces were made of")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Hold faces that stand for everybody, `(n, d)` float32 of unit length.

    The `nearest` of them count for each vector. Without faces every mean is 0, and the score is
    the cosine.
    """

    faces: Vectors
    nearest: int

    @cached_property
    def digest(self) -> str:
        """Return 64 hexadecimal digits that change whenever scores do; "" without faces."""
        if not len(self.faces):
            return ""
        head = json.dumps([*self.faces.shape, self.nearest]).encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.faces, "<f4").tobytes()).hexdigest()

    def means(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return m `(n,)` of vectors `(n, d)` of unit length: how much each resembles everybody."""
        means = np.zeros(len(vectors), np.float32)
        if not len(self.faces):
            return means
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            cosines = vectors[rows] @ self.faces.T
            highest = np.partition(cosines, len(self.faces) - self.nearest, axis=1)
            means[rows] = highest[:, -self.nearest :].mean(axis=1)
        return means

    def mean(self, vector: NDArray[np.float32]) -> float:
        """Return m of one vector `(d,)`."""
        return float(self.means(vector[None])[0])

    def index_rows(self, vectors: Vectors) -> Vectors:
        """Return where vectors `(n, d)` lie in an index: `(n, d + 1)`, the last being -m / 2.

        The inner product with a probe and a 1 is the score, but for half the probe's own m.
        """
        return np.concatenate([vectors, -self.means(vectors)[:, None] / 2], axis=1)


def index_query(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what an index of `placed` vectors is asked for a probe: `(d + 1,)`."""
    return np.append(vector, np.float32(1))


NO_COHORT = Cohort(np.empty((0, 0), np.float32), 0)


def write_cohort(folder: Path, cohort: Cohort, photos: str) -> CohortCard:
    """Write a bundle's cohort beside its manifest, and return what the manifest says of it."""
    faces = np.ascontiguousarray(cohort.faces, np.float32)
    (folder / COHORT_FILE).write_bytes(save({"faces": faces}))
    return CohortCard(sha256=cohort.digest, faces=len(faces), nearest=cohort.nearest, photos=photos)


def read_cohort(folder: Path, card: CohortCard, dimension: int) -> Cohort:
    """Read the cohort beside a manifest; raises InvalidBundle if it is not the one it names."""
    path = folder / COHORT_FILE
    try:
        with safe_open(path, "numpy") as file:
            faces = np.asarray(file.get_tensor("faces"), np.float32)
    except (OSError, SafetensorError) as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    cohort = Cohort(faces, card.nearest)
    if faces.ndim != 2 or not 0 < card.nearest <= len(faces) or cohort.digest != card.sha256:
        raise InvalidBundle(
            f"{path} is not the cohort that bundle.json names, and its thresholds do not hold "
            "with another: copy the bundle again, or run `likeness cohort build`."
        )
    if not are_unit(faces).all():
        raise InvalidBundle(f"{path} holds faces that are no unit vectors; build the cohort anew.")
    if faces.shape[1] != dimension:
        raise InvalidBundle(
            f"{path} holds faces of {faces.shape[1]} numbers, and the bundle's have {dimension}."
        )
    return cohort
