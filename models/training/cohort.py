"""Make a cohort: faces that stand for everybody, and for everybody in a poor photo.

Each is the mean of a cluster of many people's vectors, so that no single person is in it. Faces
under the usual conditions are part of it: what a blurred photo has in common with all blurred
photos says nothing about whose it is.
"""

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort, Vectors
from models.errors import LikenessError
from models.evaluation.captures import Captures

# How many clusters the plain faces make, and those of each condition; see `likeness cohort build`.
CLUSTERS = 300
CLUSTERS_OF_A_CONDITION = 50
# How many faces of the cohort count for a vector, of so many clusters.
NEAREST = 10
# No face of the cohort is of fewer people.
FEWEST_PEOPLE = 8
# A cohort of fewer people stands for nobody but them.
FEWEST_IN_ALL = 100
_STEPS = 20
# Of normal numbers the deviation is so many times the median distance from the median.
_DEVIATION = 1.4826
# Scores of strangers lie about their mean; a pair so many deviations above it is one person's.
_ONE_PERSON = 6.0
_ROWS = 1024


def build_cohort(captures: Captures, seed: int = 0) -> Cohort:
    """Make a cohort of photos of many people; of photos alike, only the first is taken.

    Of few photos there are fewer clusters. Raises LikenessError if that is too few to be of use.
    """
    usable = captures.usable
    plain = captures.plain[usable]
    rough = _cohort(_centres(plain, len(plain), CLUSTERS, seed))
    people = one_photo_each(plain, rough)
    if len(people) < FEWEST_IN_ALL:
        raise _too_few(len(people))
    kinds = [(plain, CLUSTERS)]
    kinds += [(vectors[usable], CLUSTERS_OF_A_CONDITION) for vectors in captures.degraded.values()]
    faces = np.concatenate(
        [_centres(kind[people], len(people), most, seed) for kind, most in kinds]
    )
    return _cohort(faces)


def _too_few(people: int) -> LikenessError:
    return LikenessError(
        f"Photos of {people:,} people are too few for a cohort: each of its faces is the mean of "
        f"{FEWEST_PEOPLE} people or more, and there must be many. Give photos of a thousand people "
        "or more."
    )


def _cohort(faces: Vectors) -> Cohort:
    """Let NEAREST of the faces count, or of few faces a tenth."""
    return Cohort(faces, min(NEAREST, max(1, len(faces) // 10)))


def one_photo_each(vectors: Vectors, rough: Cohort) -> NDArray[np.int64]:
    """Return the places of vectors `(n, d)` that are not another photo of somebody before them."""
    means = rough.means(vectors)
    some, own = vectors[: 2 * _ROWS], means[: 2 * _ROWS]
    square = some @ some.T - (own[:, None] + own) / 2
    pairs = square[np.triu_indices(len(some), 1)]
    # By medians: pairs of one person must not widen what is taken for strangers.
    middle = float(np.median(pairs))
    deviation = _DEVIATION * float(np.median(np.abs(pairs - middle)))
    limit = middle + _ONE_PERSON * deviation
    kept = np.ones(len(vectors), bool)
    for start in range(0, len(vectors), _ROWS):
        stop = min(start + _ROWS, len(vectors))
        block = vectors[start:stop] @ vectors[:stop].T
        alike = block - (means[start:stop, None] + means[:stop]) / 2 >= limit
        for row in range(stop - start):
            at = start + row
            kept[at] = not (alike[row, :at] & kept[:at]).any()
    return np.flatnonzero(kept)


def _centres(vectors: Vectors, people: int, most: int, seed: int) -> Vectors:
    """Return the centres of clusters of FEWEST_PEOPLE vectors or more.

    Spherical k-means (Dhillon and Modha, Concept Decompositions for Large Sparse Text Data,
    2001). Raises LikenessError.
    """
    # Twice as many people as a cluster needs, so that few clusters fall below that.
    count = min(most, people // (2 * FEWEST_PEOPLE))
    if count < 1:
        raise _too_few(people)
    random = np.random.default_rng(seed)
    centres = vectors[random.choice(len(vectors), count, replace=False)]
    sizes = np.zeros(count, np.int64)
    for _ in range(_STEPS):
        belongs = np.argmax(vectors @ centres.T, axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, belongs, vectors)
        sizes = np.bincount(belongs, minlength=count)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centres)
    kept: Vectors = np.ascontiguousarray(centres[sizes >= FEWEST_PEOPLE], np.float32)
    return kept
