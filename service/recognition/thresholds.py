"""Which threshold applies: to a decision, to photos of one person, and to possible duplicates."""

import math
from collections.abc import Sequence
from typing import Final

from models.bundle import Bundle
from models.decision import OperatingPoint, Rule, rule_at
from service.errors import ThresholdTooLow
from service.schemas.requests import DecisionBody

# At most this share of new people may get a false warning about a duplicate.
FALSE_ALARMS: Final = 0.01


def rule_of(
    form: DecisionBody, bundle: Bundle, default_point: str | None, *, may_lower: bool = False
) -> Rule:
    """Return the rule by which a bundle decides on a request.

    `default_point` applies if the request names no operating point. Raises Uncalibrated,
    UnknownOperatingPoint, and ThresholdTooLow unless the caller `may_lower` thresholds.
    """
    floor = agreement_floor(bundle.operating_points)
    if form.threshold is not None and floor is not None and not may_lower:
        check_floor("threshold", form.threshold, floor, decimals=4)
    return rule_at(
        bundle.operating_points,
        form.operating_point or default_point,
        form.threshold,
        bundle.probability,
        bundle.conditions,
    )


def check_floor(field: str, threshold: float, floor: float, decimals: int) -> None:
    """Raise ThresholdTooLow if a threshold is below the floor; the error names a valid value."""
    if threshold < floor:
        least = math.ceil(floor * 10**decimals) / 10**decimals
        raise ThresholdTooLow(
            f"{field}: Below {least:.{decimals}f}, the threshold of the laxest operating point, it "
            "is not known how many strangers match. Send that or more, or use a key with the "
            "scopes `verify` and `admin`."
        )


def agreement_floor(points: Sequence[OperatingPoint]) -> float | None:
    """Return the similarity below which two photos do not seem to show one person.

    It is the threshold of the laxest point: photos of one person seldom fall below it, and
    photos of strangers nearly always do. Return None without points.
    """
    return min((point.threshold for point in points), default=None)


def alarm_point(points: Sequence[OperatingPoint], gallery: int) -> OperatingPoint | None:
    """Return the point from which a resemblance counts as a possible duplicate.

    It is the laxest point at which FMR times `gallery` templates stays below FALSE_ALARMS, or
    the strictest point if there is none. Return None without points.
    """
    ordered = sorted(points, key=lambda point: point.threshold)
    quiet = (point for point in ordered if point.fmr.value * gallery <= FALSE_ALARMS)
    return next(quiet, ordered[-1] if ordered else None)
