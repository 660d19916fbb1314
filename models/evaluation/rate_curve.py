"""Both error rates at every threshold that matters, for who wants to see what another costs."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.evaluation.comparisons import NOT_ENROLLED, Comparisons

STEPS = 81


class RateCurve(BaseModel):
    """Hold `fmr` and `fnmr`, 0 to 1, at `thresholds`, evenly spaced and rising; of one length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: tuple[float, ...]
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


def rate_curve(comparisons: Comparisons, steps: int = STEPS) -> RateCurve:
    """Measure both rates from where a tenth of the impostors pass to where few of anybody do.

    Rates are rounded far below one error in a million comparisons.
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
