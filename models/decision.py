"""From a similarity to match, no match or inconclusive, and the evidence for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.errors import Uncalibrated, UnknownOperatingPoint

Outcome = Literal["match", "no_match", "inconclusive"]

DEFAULT_POINT = "fmr_1e-3"


@dataclass(frozen=True, slots=True)
class Rate:
    """Hold a measured error rate with its 95 % confidence interval; all 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Hold a threshold on the similarity and the error rates measured at it."""

    name: str
    threshold: float
    fmr: Rate
    fnmr: Rate


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold an outcome and what led to it.

    At or above `threshold` is a match. Below `floor` is no match; between them the score is
    inconclusive. `point` is None if the caller chose the threshold.
    """

    outcome: Outcome
    similarity: float
    threshold: float
    floor: float
    point: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold what turns a similarity into an outcome."""

    threshold: float
    floor: float
    point: OperatingPoint | None

    def decide(self, similarity: float) -> Decision:
        if similarity >= self.threshold:
            outcome: Outcome = "match"
        elif similarity < self.floor:
            outcome = "no_match"
        else:
            outcome = "inconclusive"
        return Decision(outcome, similarity, self.threshold, self.floor, self.point)


def rule_at(
    points: Sequence[OperatingPoint], name: str | None = None, threshold: float | None = None
) -> Rule:
    """Return the rule of a named operating point, of a caller's threshold, or the default.

    The next laxer point is the floor: what passes it but not the point asked for is
    inconclusive. A threshold of the caller's own has no such band, and no error rates.
    Raises Uncalibrated if nothing can be chosen by name, UnknownOperatingPoint.
    """
    if threshold is not None:
        return Rule(threshold, threshold, None)
    if not points:
        raise Uncalibrated(
            "This bundle has no operating points, so no threshold can be defended; pass "
            "`threshold`, or calibrate the bundle on labelled photos."
        )
    ordered = sorted(points, key=lambda point: point.threshold)
    names = [point.name for point in ordered]
    wanted = name if name is not None else DEFAULT_POINT if DEFAULT_POINT in names else names[-1]
    if wanted not in names:
        raise UnknownOperatingPoint(
            f"This bundle has no operating point `{wanted}`; it has {', '.join(names)}."
        )
    index = names.index(wanted)
    floor = ordered[index - 1].threshold if index else ordered[index].threshold
    return Rule(ordered[index].threshold, floor, ordered[index])
