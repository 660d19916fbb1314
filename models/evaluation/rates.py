"""Turn similarity scores into error rates with intervals, operating points and rate curves.

FMR is the share of impostor comparisons at or above a threshold, FNMR the share of genuine
comparisons below it (ISO/IEC 19795-1). Comparisons of one person depend on each other, so
intervals come from a bootstrap that draws people, not comparisons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.cohort import LOWEST_SCORE
from models.decision import OperatingPoint, Rate, RateCurve
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons, Scores, halves

FMR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# With 30 errors the true rate is within 30 % of the measured rate at 90 % confidence (Doddington's
# rule of 30). A point with fewer expected errors is marked as extrapolated.
ERRORS_WANTED = 30
# If n trials have no error, the true rate is below 3 / n at 95 % confidence (the rule of three).
# The data says nothing about a lower rate, so no point is offered there.
ERRORS_NEEDED = 3
CURVE_STEPS = 81
# The shares of photos that are rejected, lowest quality first.
REJECTED_SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# In a normal distribution, 95 % lies within this many standard deviations of the mean.
_DEVIATIONS_OF_95_PERCENT = 1.959964
_BLOCK = 256


def pair_accuracy(genuine: Scores, impostor: Scores) -> float:
    """Return the highest share of right decisions over all thresholds."""
    threshold = best_threshold(genuine, impostor)
    right = int(np.sum(genuine >= threshold)) + int(np.sum(impostor < threshold))
    return right / (len(genuine) + len(impostor))


def best_threshold(genuine: Scores, impostor: Scores) -> float:
    """Return the threshold with the most right decisions.

    It is the lowest accepted score, or lies above all scores if accepting none is best.
    """
    scores = np.concatenate([genuine, impostor]).astype(np.float32)
    same = np.arange(len(scores)) < len(genuine)
    order = np.argsort(-scores)
    gained = np.cumsum(np.where(same[order], 1, -1))
    # No threshold separates equal scores, so only the last of them counts.
    reachable = np.append(np.diff(scores[order]) != 0, True)
    best = int(np.argmax(np.where(reachable, gained, -len(scores))))
    lowest = scores[order[best]]
    if gained[best] > 0:
        return float(lowest)
    return float(np.nextafter(scores.max(), np.float32(2), dtype=np.float32))


def equal_error_rate(genuine: Scores, impostor: Scores) -> float:
    """Return the rate where FMR and FNMR are equal (EER)."""
    thresholds = np.sort(genuine)
    fnmr = np.arange(len(thresholds)) / len(thresholds)
    above = len(impostor) - np.searchsorted(np.sort(impostor), thresholds)
    fmr = above / len(impostor)
    meet = int(np.argmin(np.abs(fnmr - fmr)))
    return float((fnmr[meet] + fmr[meet]) / 2)


def threshold_at(impostor: Scores, fmr: float) -> float:
    """Return the lowest threshold whose measured FMR does not exceed `fmr`."""
    allowed = int(fmr * len(impostor) + 1e-6)  # 0.29 * 100 is slightly less than 29
    if allowed >= len(impostor):
        return LOWEST_SCORE
    highest_refused = np.partition(impostor, -1 - allowed)[-1 - allowed]
    return float(np.nextafter(highest_refused, np.float32(2), dtype=np.float32))


def fmr_at(impostor: Scores, threshold: float) -> float:
    """Return the share of impostor scores at or above the threshold."""
    return float(np.mean(impostor >= threshold))


def fnmr_at(genuine: Scores, threshold: float) -> float:
    """Return the share of genuine scores below the threshold."""
    return float(np.mean(genuine < threshold))


class Bootstrap:
    """Draw `rounds` sets of people once, and measure rates with 95 % intervals at any threshold."""

    def __init__(self, comparisons: Comparisons, seed: int = 0, rounds: int = 1000) -> None:
        people = np.union1d(comparisons.first, comparisons.second)
        self._first = np.searchsorted(people, comparisons.first)
        self._second = np.searchsorted(people, comparisons.second)
        chances = np.full(len(people), 1 / len(people))
        draws = np.random.default_rng(seed).multinomial(len(people), chances, rounds)
        self._draws = draws.astype(np.float32)
        self._scores = comparisons.scores
        self._same = comparisons.same
        self._genuine = self._weight(self._same)
        self._impostor = self._weight(~self._same)

    def fmr(self, threshold: float) -> Rate:
        """Measure the share of impostor comparisons at or above the threshold."""
        wrong = ~self._same & (self._scores >= threshold)
        return self._rate(~self._same, wrong, self._impostor)

    def fnmr(self, threshold: float) -> Rate:
        """Measure the share of genuine comparisons below the threshold."""
        wrong = self._same & (self._scores < threshold)
        return self._rate(self._same, wrong, self._genuine)

    def _rate(
        self, kept: NDArray[np.bool_], wrong: NDArray[np.bool_], totals: NDArray[np.float64]
    ) -> Rate:
        if not wrong.any():
            # Every draw has no error either, so the rule of three gives the upper bound.
            people = np.union1d(self._first[kept], self._second[kept])
            return Rate(0.0, 0.0, min(1.0, 3 / max(len(people), 1)))
        errors = self._weight(wrong)
        low, high = np.quantile(errors / np.maximum(totals, 1), [0.025, 0.975])
        return Rate(float(wrong.sum() / kept.sum()), float(low), float(high))

    def _weight(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Count the chosen comparisons in every draw `(rounds,)`.

        Comparisons of the same two people are added up first, so that a million of them cost
        only a few matrix products.
        """
        people = self._draws.shape[1]
        keys, counts = np.unique(
            self._first[chosen] * people + self._second[chosen], return_counts=True
        )
        a, b = keys // people, keys % people
        itself = a == b
        total = np.asarray(self._draws[:, a[itself]] @ counts[itself], np.float64)
        a, b, counts = a[~itself], b[~itself], counts[~itself]
        for start in np.unique(a // _BLOCK) * _BLOCK:
            low, high = np.searchsorted(a, [start, start + _BLOCK])
            table = np.zeros((_BLOCK, people), np.float32)
            table[a[low:high] - start, b[low:high]] = counts[low:high]
            part = self._draws[:, start : start + _BLOCK]
            total += np.einsum("ij,ij->i", part @ table[: part.shape[1]], self._draws)
        return total


def proportion(hits: int, trials: int) -> Rate:
    """Return the share of hits in independent trials, with its 95 % interval (Wilson 1927)."""
    share, spread = hits / trials, _DEVIATIONS_OF_95_PERCENT**2 / trials
    middle = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = ((middle + side) / (1 + spread) for side in (-reach, reach))
    return Rate(share, max(0.0, low), min(1.0, high))


def operating_points(
    comparisons: Comparisons, targets: Sequence[float] = FMR_TARGETS, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """Return the operating points that the data supports, each with its measured rates.

    A point with fewer than 3 expected false matches is left out. A point with fewer than 30 is
    marked as extrapolated.
    """
    impostor = comparisons.impostor
    expected = {target: target * len(impostor) for target in targets}
    supported = [target for target in targets if expected[target] >= ERRORS_NEEDED]
    if not supported:
        return ()
    bootstrap = Bootstrap(comparisons, seed)
    points = []
    for target in supported:
        threshold = threshold_at(impostor, target)
        points.append(
            OperatingPoint(
                name=point_name(target),
                threshold=threshold,
                fmr=bootstrap.fmr(threshold),
                fnmr=bootstrap.fnmr(threshold),
                held_out_fmr=held_out_fmr(comparisons, target, seed),
                extrapolated=expected[target] < ERRORS_WANTED,
            )
        )
    return tuple(points)


def point_name(fmr: float) -> str:
    """Return the name of the point at an FMR, such as `fmr_1e-3` for 0.001."""
    return f"fmr_{fmr:.0e}".replace("e-0", "e-")


def held_out_fmr(comparisons: Comparisons, target: float, seed: int = 0) -> float | None:
    """Measure the FMR on people who did not set the threshold.

    Each half of the people sets a threshold, and the false matches of the other half are counted.
    Comparisons across the halves are not used. None if a half is too small.
    """
    impostors = [side.impostor for side in halves(comparisons, seed)]
    if target * min(map(len, impostors)) < ERRORS_NEEDED:
        return None
    false_matches = sum(
        int(np.sum(counted >= threshold_at(setting, target)))
        for setting, counted in (impostors, impostors[::-1])
    )
    return false_matches / sum(map(len, impostors))


def rate_curve(comparisons: Comparisons, steps: int = CURVE_STEPS) -> RateCurve:
    """Measure both rates at evenly spaced thresholds.

    They begin where at least a tenth of the impostor comparisons match, and end where almost no
    comparison matches. The rounding is far below one error in a million comparisons.
    """
    genuine, impostor = np.sort(comparisons.genuine), np.sort(comparisons.impostor)
    enrolled = genuine[genuine > NOT_ENROLLED]
    low, high = np.quantile(impostor, 0.9), impostor[-1]
    if len(enrolled):
        low, high = min(low, np.quantile(enrolled, 0.02)), max(high, np.quantile(enrolled, 0.98))
    thresholds = np.linspace(float(low), float(high), steps).round(5)
    fmr = 1 - np.searchsorted(impostor, thresholds) / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds) / len(genuine)
    return RateCurve(
        thresholds=tuple(thresholds.tolist()),
        fmr=tuple(fmr.round(8).tolist()),
        fnmr=tuple(fnmr.round(6).tolist()),
    )


@dataclass(frozen=True, slots=True)
class RejectRates:
    """Hold the FNMR at a threshold after a share of the photos, worst first, is rejected."""

    share: float
    fnmr: float


def reject_rates(
    comparisons: Comparisons, qualities: NDArray[np.float32], threshold: float
) -> tuple[RejectRates, ...]:
    """Reject photos by their qualities `(n,)`, lowest first, and measure the FNMR of the rest.

    Grother and Tabassi, Performance of Biometric Quality Measures, 2007.
    A comparison is dropped if either of its photos is rejected. Random qualities leave the FNMR
    as it is; perfect ones lower it by the share of rejected photos.
    """
    same = comparisons.same
    photos, failed = comparisons.photos[same], comparisons.scores[same] < threshold
    rank = np.empty(len(qualities))
    rank[np.argsort(qualities, kind="stable")] = np.arange(len(qualities))
    worst = rank[photos].min(axis=1)
    rows = []
    for share in REJECTED_SHARES:
        kept = worst >= share * len(qualities)
        if kept.any():
            rows.append(RejectRates(share, float(np.mean(failed[kept]))))
    return tuple(rows)
