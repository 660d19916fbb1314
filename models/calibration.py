"""From similarity scores to error rates and operating points.

FMR is the share of impostor comparisons at or above a threshold, FNMR the share of genuine
ones below it (ISO/IEC 19795-1). Comparisons that share a person are not independent, so
intervals come from a bootstrap over people, not over pairs (Bolle et al. 2004, the subsets
bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decision import OperatingPoint, Rate

Scores = NDArray[np.float32]

FMR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5)
# With 30 errors the true rate lies within 30 % of the measured one at 90 % confidence
# (Doddington's rule of 30); a point expected to rest on fewer is not offered.
_ERRORS_NEEDED = 30


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Hold scored comparisons of `n` pairs; every array is `(n,)`.

    `first` and `second` number the people compared. A photo that could not be enrolled has
    score -1 against its own person: whoever is not enrolled is not recognised.
    """

    scores: Scores
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def same(self) -> NDArray[np.bool_]:
        return np.equal(self.first, self.second)

    @property
    def genuine(self) -> Scores:
        return self.scores[self.same]

    @property
    def impostor(self) -> Scores:
        return self.scores[~self.same]


def all_pairs(
    vectors: NDArray[np.float32], people: NDArray[np.int64], enrolled: NDArray[np.bool_]
) -> Comparisons:
    """Compare every photo with every other; `vectors` `(n, d)` of unit length.

    Impostor comparisons with a photo that was not enrolled are left out.
    """
    first, second = np.triu_indices(len(vectors), 1)
    both = enrolled[first] & enrolled[second]
    scores = np.where(both, (vectors @ vectors.T)[first, second], -1).astype(np.float32)
    kept = both | (people[first] == people[second])
    return Comparisons(scores[kept], people[first[kept]], people[second[kept]])


def pair_accuracy(genuine: Scores, impostor: Scores) -> float:
    """Return the best share of right decisions over all thresholds."""
    scores = np.concatenate([genuine, impostor])
    same = np.arange(len(scores)) < len(genuine)
    gained = np.cumsum(np.where(same[np.argsort(-scores, kind="stable")], 1, -1))
    return (max(0, int(gained.max())) + len(impostor)) / len(scores)


def equal_error_rate(genuine: Scores, impostor: Scores) -> float:
    """Return the rate at which FMR and FNMR meet."""
    thresholds = np.sort(genuine)
    fnmr = np.arange(len(thresholds)) / len(thresholds)
    above = len(impostor) - np.searchsorted(np.sort(impostor), thresholds)
    fmr = above / len(impostor)
    meet = int(np.argmin(np.abs(fnmr - fmr)))
    return float((fnmr[meet] + fmr[meet]) / 2)


def threshold_at(impostor: Scores, fmr: float) -> float:
    """Return the lowest threshold whose measured FMR does not exceed `fmr`."""
    allowed = int(np.floor(fmr * len(impostor)))
    if allowed >= len(impostor):
        return -1.0
    highest_refused = np.partition(impostor, -1 - allowed)[-1 - allowed]
    return float(np.nextafter(highest_refused, np.float32(2), dtype=np.float32))


def fmr_at(impostor: Scores, threshold: float) -> float:
    """Return the share of impostor scores at or above the threshold."""
    return float(np.mean(impostor >= threshold))


def fnmr_at(genuine: Scores, threshold: float) -> float:
    """Return the share of genuine scores below the threshold."""
    return float(np.mean(genuine < threshold))


def operating_points(
    comparisons: Comparisons, targets: Sequence[float] = FMR_TARGETS, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """Return the points that the data supports, each with its measured rates.

    Points expected to rest on fewer than 30 false matches are left out.
    """
    impostor = comparisons.impostor
    points = []
    for target in targets:
        if target * len(impostor) < _ERRORS_NEEDED:
            continue
        threshold = threshold_at(impostor, target)
        fmr, fnmr = _measure(comparisons, threshold, np.random.default_rng(seed))
        points.append(
            OperatingPoint(f"fmr_{target:.0e}".replace("e-0", "e-"), threshold, fmr, fnmr)
        )
    return tuple(points)


def _measure(
    comparisons: Comparisons, threshold: float, random: np.random.Generator, rounds: int = 1000
) -> tuple[Rate, Rate]:
    """Measure FMR and FNMR with 95 % intervals from a bootstrap over people."""
    people = int(max(comparisons.first.max(), comparisons.second.max())) + 1
    draws = random.multinomial(people, np.full(people, 1 / people), size=rounds).astype(float)
    same, accepted = comparisons.same, comparisons.scores >= threshold
    wrong = accepted != same
    return (
        _rate(comparisons, ~same, wrong & ~same, draws),
        _rate(comparisons, same, wrong & same, draws),
    )


def _rate(
    comparisons: Comparisons,
    kept: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    draws: NDArray[np.float64],
) -> Rate:
    totals, errors = (_weight(comparisons, chosen, draws) for chosen in (kept, wrong))
    low, high = np.quantile(errors / np.maximum(totals, 1), [0.025, 0.975])
    return Rate(float(wrong.sum() / kept.sum()), float(low), float(high))


def _weight(
    comparisons: Comparisons, chosen: NDArray[np.bool_], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Count the chosen comparisons in every bootstrap draw; a pair counts by both people.

    Pairs are summed over people first, so that a million of them cost one small product.
    """
    first, second = comparisons.first[chosen], comparisons.second[chosen]
    people = draws.shape[1]
    keys, counts = np.unique(first * people + second, return_counts=True)
    a, b = keys // people, keys % people
    result = np.empty(len(draws))
    for index, draw in enumerate(draws):
        both = np.where(a == b, draw[a], draw[a] * draw[b])
        result[index] = both @ counts
    return result
