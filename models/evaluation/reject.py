"""Measure the FNMR that remains when the photos of the lowest quality are rejected.

Grother and Tabassi, Performance of Biometric Quality Measures, 2007.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparisons import Comparisons

SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class RejectRates:
    """Hold the FNMR at a threshold after a share of the photos, worst first, is rejected."""

    share: float
    fnmr: float


def reject_rates(
    comparisons: Comparisons, qualities: NDArray[np.float32], threshold: float
) -> tuple[RejectRates, ...]:
    """Reject photos by their qualities `(n,)`, lowest first, and measure the FNMR of the rest.

    A comparison is dropped if either of its photos is rejected. Random qualities leave the FNMR
    as it is; perfect ones lower it by the share of rejected photos.
    """
    same = comparisons.same
    photos, failed = comparisons.photos[same], comparisons.scores[same] < threshold
    rank = np.empty(len(qualities))
    rank[np.argsort(qualities, kind="stable")] = np.arange(len(qualities))
    worst = rank[photos].min(axis=1)
    rows = []
    for share in SHARES:
        kept = worst >= share * len(qualities)
        if kept.any():
            rows.append(RejectRates(share, float(np.mean(failed[kept]))))
    return tuple(rows)
