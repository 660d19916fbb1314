"""Normalise scores so that they mean the same for every face.

An average face, or a face in a bad photo, has high cosines with other people too. A cohort, a set
of faces that represent people in general, shows how high. The score of two vectors is their
cosine minus the mean of what each has in common with the cohort,

    score(a, b) = cos(a, b) - (m(a) + m(b)) / 2

where m(v), the cohort mean of v, is the mean of the highest cosines of v with the cohort. This is
a symmetric, adaptive cohort normalisation (Auckenthaler, Carey and Lloyd-Thomas 2000: T-norm;
Matejka et al. 2017: adaptive S-norm, here without the division by the deviation).

For one probe q, the score is the inner product of (v, -m(v)/2) and (q, 1), minus the constant
m(q)/2. So an index for inner products can search by score.
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
# No score is lower: the cosine is at least -1, and both cohort means are at most 1.
LOWEST_SCORE = -2.0
_ROWS_AT_ONCE = 4096
# Rounding may change the squared length of a unit vector by this much.
_OFF_UNIT = 2e-3


def are_unit(vectors: Vectors) -> NDArray[np.bool_]:
    """Return `(n,)`, True for vectors of `(n, d)` that are finite and of unit length.

    Other vectors cannot be compared.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
        return np.asarray(np.abs(squares - 1) < _OFF_UNIT)  # False for NaN


class CohortCard(BaseModel):
    """Describe the cohort of a bundle in its manifest.

    `sha256` is its digest, `faces` the number of its faces, and `nearest` how many of them count
    for each vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    faces: int = Field(gt=0)
    nearest: int = Field(gt=0)
    photos: str = Field(description="one sentence on the photos that its faces were made from")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Hold faces that represent people in general, `(n, d)` float32 of unit length.

    For each vector, the mean is taken over its `nearest` most similar faces. Without faces every
    mean is 0, and the score is the cosine.
    """

    faces: Vectors
    nearest: int

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of faces and `nearest`, 64 hexadecimal digits; "" without faces."""
        if not len(self.faces):
            return ""
        head = json.dumps([*self.faces.shape, self.nearest]).encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.faces, "<f4").tobytes()).hexdigest()

    def means(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return the cohort means `(n,)` of vectors `(n, d)` of unit length."""
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
        """Return the cohort mean of one vector `(d,)`."""
        return float(self.means(vector[None])[0])

    def index_rows(self, vectors: Vectors) -> Vectors:
        """Return the rows `(n, d + 1)` to index for vectors `(n, d)`; the last column is -m / 2.

        The inner product with `index_query` of a probe is the score plus half the probe's mean.
        """
        return np.concatenate([vectors, -self.means(vectors)[:, None] / 2], axis=1)


def index_query(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the query `(d + 1,)` for a probe `(d,)`, to search an index of `index_rows`."""
    return np.append(vector, np.float32(1))


NO_COHORT = Cohort(np.empty((0, 0), np.float32), 0)


def write_cohort(folder: Path, cohort: Cohort, photos: str) -> CohortCard:
    """Write the cohort into the folder of a bundle, and return its card for the manifest."""
    faces = np.ascontiguousarray(cohort.faces, np.float32)
    (folder / COHORT_FILE).write_bytes(save({"faces": faces}))
    return CohortCard(sha256=cohort.digest, faces=len(faces), nearest=cohort.nearest, photos=photos)


def read_cohort(folder: Path, card: CohortCard, dimension: int) -> Cohort:
    """Read the cohort of a bundle from its folder.

    `dimension` is the length of the bundle's vectors. Raises InvalidBundle if the file is damaged
    or is not the cohort that the card describes.
    """
    path = folder / COHORT_FILE
    try:
        with safe_open(path, "numpy") as file:
            faces = np.asarray(file.get_tensor("faces"), np.float32)
    except (OSError, SafetensorError) as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    cohort = Cohort(faces, card.nearest)
    if faces.ndim != 2 or not 0 < card.nearest <= len(faces) or cohort.digest != card.sha256:
        raise InvalidBundle(
            f"{path} is not the cohort that bundle.json describes, and the thresholds do not hold "
            "with another one: copy the bundle again, or run `likeness cohort build`."
        )
    if not are_unit(faces).all():
        raise InvalidBundle(f"{path} contains faces that are not unit vectors; build it again.")
    if faces.shape[1] != dimension:
        raise InvalidBundle(
            f"{path} contains faces of {faces.shape[1]} numbers; the bundle's have {dimension}."
        )
    return cohort
