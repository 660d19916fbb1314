"""Compare photos of known people and hold the scores."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.cohort import NO_COHORT, Cohort
from models.datasets.labelled import pair_places

Scores = NDArray[np.float32]

# The score of a comparison with a photo that was not enrolled: lower than any score of two faces.
NOT_ENROLLED = -3.0


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Hold scored comparisons of `n` pairs; every array is `(n,)`.

    `first` and `second` are the numbers of the two people. `photos` `(n, 2)` are the places of
    their photos, or empty. A photo that could not be enrolled has the score NOT_ENROLLED against
    the other photos of its person, because the service would not recognise that person.
    """

    scores: Scores
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    photos: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))

    @property
    def same(self) -> NDArray[np.bool_]:
        """Mark the comparisons `(n,)` of one person."""
        return np.equal(self.first, self.second)

    @property
    def genuine(self) -> Scores:
        """Return the scores of comparisons of one person."""
        return self.scores[self.same]

    @property
    def impostor(self) -> Scores:
        """Return the scores of comparisons of two people."""
        return self.scores[~self.same]


def all_pairs(
    vectors: NDArray[np.float32],
    people: NDArray[np.int64],
    enrolled: NDArray[np.bool_],
    cohort: Cohort = NO_COHORT,
) -> Comparisons:
    """Compare every photo with every other photo.

    `vectors` are unit vectors `(n, d)`; the cohort normalises the scores. Impostor comparisons
    with a photo that was not enrolled are left out. Of more than `labelled.MOST_PAIRS` pairs, so
    many are drawn at random.
    """
    return compare(vectors, people, enrolled, *pair_places(people), cohort)


def compare(
    vectors: NDArray[np.float32],
    people: NDArray[np.int64],
    enrolled: NDArray[np.bool_],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    cohort: Cohort = NO_COHORT,
) -> Comparisons:
    """Compare photos `a` `(n,)` with photos `b` `(n,)`; the rules are those of `all_pairs`."""
    both = enrolled[a] & enrolled[b]
    scores = np.where(both, scores_of(vectors, a, b, cohort), NOT_ENROLLED).astype(np.float32)
    kept = both | (people[a] == people[b])
    a, b = a[kept], b[kept]
    return Comparisons(scores[kept], people[a], people[b], np.stack([a, b], 1))


def scores_of(
    vectors: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64], cohort: Cohort
) -> Scores:
    """Return the scores of the vectors at places `a` and `b`, normalised by the cohort."""
    means = cohort.means(vectors)
    return np.asarray(cosines(vectors, a, b) - (means[a] + means[b]) / 2, np.float32)


def cosines(
    vectors: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64], rows: int = 512
) -> Scores:
    """Return the cosines of the unit vectors at places `a` and `b`.

    The product is computed for `rows` vectors at a time.
    """
    order = np.argsort(a, kind="stable")
    starts = np.arange(0, len(vectors) + rows, rows)
    edges = np.searchsorted(a[order], starts)
    scores = np.empty(len(a), np.float32)
    for start, low, high in zip(starts[:-1], edges[:-1], edges[1:], strict=True):
        at = order[low:high]
        scores[at] = (vectors[start : start + rows] @ vectors.T)[a[at] - start, b[at]]
    return scores


def halves(comparisons: Comparisons, seed: int = 0) -> tuple[Comparisons, Comparisons]:
    """Draw half of the people, and return the comparisons within each half."""
    people = np.union1d(comparisons.first, comparisons.second)
    chosen = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
    first, second = (np.isin(side, chosen) for side in (comparisons.first, comparisons.second))
    return subset(comparisons, first & second), subset(comparisons, ~first & ~second)


def subset(comparisons: Comparisons, kept: NDArray[np.bool_]) -> Comparisons:
    """Return the comparisons that `kept` `(n,)` marks."""
    photos = comparisons.photos
    return Comparisons(
        comparisons.scores[kept],
        comparisons.first[kept],
        comparisons.second[kept],
        photos[kept] if len(photos) else photos,
    )
