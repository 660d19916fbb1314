"""Build a cohort: a few hundred faces that stand for all people, in good and in poor photos.

Each face is the mean vector of a cluster of many people, so that it shows no single person. Some
faces stand for photos under a capture condition. They remove from a score what, for example, all
blurred photos have in common, which says nothing about the person.
"""

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort, Vectors
from models.errors import LikenessError
from models.evaluation.conditions import Captures

# The numbers of clusters of plain faces and of the faces under each condition.
CLUSTERS = 300
CLUSTERS_OF_A_CONDITION = 50
# The number of nearest faces of the cohort that normalise the score of a vector.
NEAREST = 10
# A face of the cohort is the mean of at least so many people.
FEWEST_PEOPLE = 8
# A cohort of fewer people would not stand for other people.
FEWEST_IN_ALL = 100
_STEPS = 20
# In a normal distribution the standard deviation is so many times the median absolute deviation.
_DEVIATION = 1.4826
# A pair whose score is so many deviations above the mean of strangers is taken for one person.
_ONE_PERSON = 6.0
_ROWS = 1024


def build_cohort(captures: Captures, seed: int = 0) -> Cohort:
    """Build a cohort from photos of many people.

    Of very similar photos only the first is used. Few photos give fewer clusters. Raises
    LikenessError if there are too few people.
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
        f"Photos of {people:,} people are too few for a cohort: it needs many faces, and each "
        f"face is the mean of at least {FEWEST_PEOPLE} people. Give photos of at least a thousand "
        "people."
    )


def _cohort(faces: Vectors) -> Cohort:
    """Make a cohort that uses the NEAREST faces, or a tenth of all faces if they are few."""
    return Cohort(faces, min(NEAREST, max(1, len(faces) // 10)))


def one_photo_each(vectors: Vectors, rough: Cohort) -> NDArray[np.int64]:
    """Return the places of the first photo of each person among vectors `(n, d)`."""
    means = rough.means(vectors)
    some, own = vectors[: 2 * _ROWS], means[: 2 * _ROWS]
    square = some @ some.T - (own[:, None] + own) / 2
    pairs = square[np.triu_indices(len(some), 1)]
    # Medians, because pairs of one person must not raise the limit for strangers.
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
    """Return the centres of the clusters that have at least FEWEST_PEOPLE vectors.

    Spherical k-means (Dhillon and Modha, Concept Decompositions for Large Sparse Text Data,
    2001). Raises LikenessError if there are too few people.
    """
    # Twice as many people per cluster as it needs, so that few clusters are too small.
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
