"""From a similarity to match, no match or inconclusive, and the evidence for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.errors import Uncalibrated, UnknownOperatingPoint
from models.probability import Logistic

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
    """Hold a threshold on the similarity and the error rates measured at it.

    `held_out_fmr` is the FMR on people that a threshold found the same way was not set on.
    An `extrapolated` point rests on fewer than 30 false matches.
    """

    name: str
    threshold: float
    fmr: Rate
    fnmr: Rate
    held_out_fmr: float | None = None
    extrapolated: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold an outcome and what led to it.

    At or above `threshold` is a match. Below `floor` is no match; between them the score is
    inconclusive. `point` is None if the caller chose the threshold, `probability` if the
    bundle has none.
    """

    outcome: Outcome
    similarity: float
    threshold: float
    floor: float
    point: OperatingPoint | None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold what turns a similarity into an outcome and a probability."""

    threshold: float
    floor: float
    point: OperatingPoint | None
    probability: Logistic | None = None

    def decide(self, similarity: float) -> Decision:
        if similarity >= self.threshold:
            outcome: Outcome = "match"
        elif similarity < self.floor:
            outcome = "no_match"
        else:
            outcome = "inconclusive"
        probability = None if self.probability is None else self.probability(similarity)
        return Decision(outcome, similarity, self.threshold, self.floor, self.point, probability)


def rule_at(
    points: Sequence[OperatingPoint],
    name: str | None = None,
    threshold: float | None = None,
    probability: Logistic | None = None,
) -> Rule:
    """Return the rule of a named operating point, of a caller's threshold, or the default.

    The next laxer point is the floor: what passes it but not the point asked for is
    inconclusive. A threshold of the caller's own has no such band, and no error rates.
    Raises Uncalibrated if nothing can be chosen by name, UnknownOperatingPoint.
    """
    if threshold is not None:
        return Rule(threshold, threshold, None, probability)
    if not points:
        raise Uncalibrated(
            "This bundle has no operating points, so no threshold can be defended; pass "
            "`threshold`, or calibrate the bundle on labelled photos."
        )
    ordered = sorted(points, key=lambda point: point.threshold)
    names = [point.name for point in ordered]
    wanted = name if name is not None else default_point(ordered)
    if wanted not in names:
        raise UnknownOperatingPoint(
            f"This bundle has no operating point `{wanted}`; it has {', '.join(names)}."
        )
    index = names.index(wanted)
    floor = ordered[index - 1].threshold if index else ordered[index].threshold
    return Rule(ordered[index].threshold, floor, ordered[index], probability)


def default_point(points: Sequence[OperatingPoint]) -> str:
    """Return FMR 1e-3, or else the strictest point that is measured well, or at all."""
    if any(point.name == DEFAULT_POINT for point in points):
        return DEFAULT_POINT
    measured = [point for point in points if not point.extrapolated] or points
    return max(measured, key=lambda point: point.threshold).name
