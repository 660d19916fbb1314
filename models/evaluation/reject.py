"""Errors against rejects: what FNMR is left when the photos judged worst are turned away.

Grother and Tabassi, Performance of Biometric Quality Measures, 2007.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparisons import Comparisons

SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class RejectRates:
    """Hold the FNMR at a threshold when a share of the photos is turned away, worst first."""

    share: float
    fnmr: float


def reject_rates(
    comparisons: Comparisons, qualities: NDArray[np.float32], threshold: float
) -> tuple[RejectRates, ...]:
    """Turn away photos by their qualities `(n,)`, lowest first, and count what is left.

    A comparison goes with either of its photos. A judge who knows nothing leaves the FNMR as it
    is; a perfect one lowers it by what it turns away.
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
