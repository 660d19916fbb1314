"""Draw vectors of people who do not exist, distributed like the vectors of real people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSION = 128

# Measured on dlib's descriptors of 13,304 people. Most of a unit vector is common to all faces. The
# rest differs between people, mostly in few directions, and between photos of one person, in many.
# The mean cosine of strangers is 0.83 and that of one person 0.945; measured: 0.85 and 0.945.
_SHARED = 0.83
_BETWEEN = 0.115
_WITHIN = 0.055
_BETWEEN_FALLS = 10.0  # number of directions over which the variance falls to 1/e
_WITHIN_DIRECTIONS = 64

_BLOCK = 50_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """Hold vectors of people and of their photos in a gallery, both (n, d) float32."""

    people: Vectors
    gallery: Vectors
    per_person: int

    def subject_of(self, row: int) -> str:
        return f"p{row // self.per_person}"

    def probes(self, count: int) -> Vectors:
        """Return unit vectors `(count, d)` float32 of new photos of `count` people."""
        dice = np.random.default_rng(3)
        return _photos(self.people[dice.choice(len(self.people), count, replace=False)], dice)


def crowd(templates: int, per_person: int = 2) -> Crowd:
    """Draw people and `per_person` photos of each, ordered by person."""
    dice = np.random.default_rng(1)
    people = _people(templates // per_person, dice)
    gallery = np.empty((len(people) * per_person, DIMENSION), np.float32)
    for start in range(0, len(gallery), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(gallery)))
        gallery[rows] = _photos(people[rows // per_person], dice)
    return Crowd(people, gallery, per_person)


def strangers(count: int) -> Vectors:
    """Return unit vectors `(count, d)` float32 of people who are in no gallery."""
    dice = np.random.default_rng(2)
    return _photos(_people(count, dice), dice)


def _people(count: int, dice: np.random.Generator) -> Vectors:
    variances = np.exp(-np.arange(DIMENSION) / _BETWEEN_FALLS)
    spread = np.sqrt(_BETWEEN * variances / variances.sum()).astype(np.float32)
    people: Vectors = dice.standard_normal((count, DIMENSION), np.float32) * spread
    # The common part lies along the last direction, where people differ least.
    people[:, -1] += np.sqrt(_SHARED)
    return people


def _photos(people: Vectors, dice: np.random.Generator) -> Vectors:
    photos = people.copy()
    spread = np.float32(np.sqrt(_WITHIN / _WITHIN_DIRECTIONS))
    photos[:, :_WITHIN_DIRECTIONS] += spread * dice.standard_normal(
        (len(people), _WITHIN_DIRECTIONS), np.float32
    )
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    return photos
