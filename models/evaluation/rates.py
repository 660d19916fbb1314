"""From similarity scores to error rates and operating points.

FMR is the share of impostor comparisons at or above a threshold, FNMR the share of genuine
ones below it (ISO/IEC 19795-1).
"""

from collections.abc import Sequence

import numpy as np

from models.cohort import LOWEST_SCORE
from models.decision import OperatingPoint
from models.evaluation.bootstrap import Bootstrap
from models.evaluation.comparisons import Comparisons as Comparisons
from models.evaluation.comparisons import Scores, halves
from models.evaluation.comparisons import all_pairs as all_pairs

FMR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# With 30 errors the true rate lies within 30 % of the measured one at 90 % confidence
# (Doddington's rule of 30); a point expected to rest on fewer is marked as extrapolated.
ERRORS_WANTED = 30
# No error in n trials leaves 3 / n possible at 95 % confidence (the rule of three): of a rate
# below that the data says nothing, and the point is not offered.
ERRORS_NEEDED = 3


def pair_accuracy(genuine: Scores, impostor: Scores) -> float:
    """Return the best share of right decisions over all thresholds."""
    threshold = best_threshold(genuine, impostor)
    right = int(np.sum(genuine >= threshold)) + int(np.sum(impostor < threshold))
    return right / (len(genuine) + len(impostor))


def best_threshold(genuine: Scores, impostor: Scores) -> float:
    """Return a threshold with the most right decisions: the lowest score accepted, if any."""
    scores = np.concatenate([genuine, impostor]).astype(np.float32)
    same = np.arange(len(scores)) < len(genuine)
    order = np.argsort(-scores)
    gained = np.cumsum(np.where(same[order], 1, -1))
    # No threshold separates equal scores: only the last of them counts.
    reachable = np.append(np.diff(scores[order]) != 0, True)
    best = int(np.argmax(np.where(reachable, gained, -len(scores))))
    lowest = scores[order[best]]
    if gained[best] > 0:
        return float(lowest)
    return float(np.nextafter(scores.max(), np.float32(2), dtype=np.float32))


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
    allowed = int(fmr * len(impostor) + 1e-6)  # 0.29 * 100 is a little less than 29
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


def operating_points(
    comparisons: Comparisons, targets: Sequence[float] = FMR_TARGETS, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """Return the points that the data supports, each with its measured rates.

    Points expected to rest on fewer than 3 false matches are left out, and those on fewer
    than 30 marked as extrapolated.
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
    """Return `fmr_1e-3` for 0.001."""
    return f"fmr_{fmr:.0e}".replace("e-0", "e-")


def held_out_fmr(comparisons: Comparisons, target: float, seed: int = 0) -> float | None:
    """Set the threshold on half of the people, count on the other half, and the reverse.

    None where a half is too small to set it. Of comparisons across the halves none is used.
    """
    impostors = [side.impostor for side in halves(comparisons, seed)]
    if target * min(map(len, impostors)) < ERRORS_NEEDED:
        return None
    passed = sum(
        int(np.sum(judged >= threshold_at(set_on, target)))
        for set_on, judged in (impostors, impostors[::-1])
    )
    return passed / sum(map(len, impostors))
