"""From two templates to a decision: match, no match or inconclusive, and the evidence for it.

The steps, in the order of this file: `similarity` compares two `Template`s; error rates that
were measured at a threshold (`OperatingPoint`, `Evidence`) say what a similarity means; a `Rule`
turns it into a `Decision`; `explain` puts the decision into a sentence.

FMR is the false match rate, the share of comparisons of two people at or above a threshold. FNMR
is the false non-match rate, the share of comparisons of one person below it (ISO/IEC 19795-1).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.errors import DegenerateVector, FingerprintMismatch, Uncalibrated, UnknownOperatingPoint

# Defects of a photo that make photos of two people look alike.
ConditionName = Literal["blurred", "masked", "dark_glasses", "small", "dark", "compressed"]
CONDITION_NAMES: tuple[ConditionName, ...] = get_args(ConditionName)

# The scores of two people spread with this power of the coherence; see tests/tools/bench/NOTES.md.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Template:
    """Hold what stands for a face in a comparison.

    `vector` is `(d,)` float32 of unit length, `fingerprint` names the bundle that made it, and
    `mean` is its cohort mean (see `models.cohort`), 0 for a bundle without a cohort. `coherence`
    is 1 for one photo. For several fused photos it is the length of the mean of their unit
    vectors, 0 to 1: it says how far they agree. `conditions` are the defects that all photos
    share. `quality`, 0 to 1, says how well the person can be recognised by it, and is None if it
    was not judged; a template that `is_poor` is seldom recognised. `strangers_mean` is the mean
    score of two people by this bundle, or None if it was not measured.
    """

    vector: NDArray[np.float32]
    fingerprint: str
    mean: float = 0.0
    coherence: float = 1.0
    conditions: frozenset[ConditionName] = frozenset()
    quality: float | None = None
    is_poor: bool = False
    strangers_mean: float | None = None


def cosine(probe: Template, reference: Template) -> float:
    """Return the cosine of two templates, -1 to 1.

    Raises FingerprintMismatch: vectors of different bundles cannot be compared.
    """
    if probe.fingerprint != reference.fingerprint:
        raise FingerprintMismatch(
            f"A template of bundle {reference.fingerprint[:12]} cannot be compared with one "
            f"of bundle {probe.fingerprint[:12]}; enrol the subject again."
        )
    return float(np.clip(np.dot(probe.vector, reference.vector), -1.0, 1.0))


def similarity(probe: Template, reference: Template) -> float:
    """Return the score that decisions are based on, -2 to 1.

    It is the cosine minus what both faces have in common with the cohort (see `models.cohort`);
    without a cohort, and for single photos, it is the cosine. Fused templates contain less noise,
    so their scores with other people lie further from the mean of such scores. The coherence
    scales them back to the spread that the thresholds were set on. Raises FingerprintMismatch.
    """
    score = cosine(probe, reference) - (probe.mean + reference.mean) / 2
    if probe.strangers_mean is None:
        return score
    spread = math.pow(probe.coherence * reference.coherence, _SPREAD)
    return probe.strangers_mean + spread * (score - probe.strangers_mean)


def similarities(probes: Sequence[Template], references: Sequence[Template]) -> NDArray[np.float32]:
    """Return the scores `(n, m)` of n probes and m references of one bundle; see `similarity`."""
    columns = []
    for side in (probes, references):
        vectors = np.array([each.vector for each in side], np.float32)
        means = np.array([each.mean for each in side], np.float32)
        coherences = np.array([each.coherence for each in side], np.float32)
        columns.append((vectors, means, coherences))
    (a, mean_a, coherence_a), (b, mean_b, coherence_b) = columns
    scores = np.asarray(a @ b.T - (mean_a[:, None] + mean_b) / 2, np.float32)
    centre = probes[0].strangers_mean if probes else None
    if centre is None:
        return scores
    spread = (coherence_a[:, None] * coherence_b) ** _SPREAD
    return np.asarray(centre + spread * (scores - centre), np.float32)


@dataclass(frozen=True, slots=True)
class Rate:
    """Hold a measured error rate with its 95 % confidence interval; all 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Hold a threshold on the similarity and the error rates measured at it.

    `held_out_fmr` is the FMR on people whose comparisons were not used to set the threshold. An
    `extrapolated` point rests on fewer than 30 false matches. A point that was `kept` comes from
    an earlier calibration, because the last one had too few photos to measure it. `data` says in
    a sentence on what photos it was measured, if not on those of the calibration.
    """

    name: str
    threshold: float
    fmr: Rate
    fnmr: Rate
    held_out_fmr: float | None = None
    extrapolated: bool = False
    kept: bool = False
    data: str = ""

    @property
    def claim(self) -> float:
        """Return the FMR in its name, 1e-3 for `fmr_1e-3`; for other names, the measured FMR."""
        try:
            return float(self.name.removeprefix("fmr_"))
        except ValueError:
            return self.fmr.value


class RateCurve(BaseModel):
    """Hold `fmr` and `fnmr`, 0 to 1, at evenly spaced, rising `thresholds`; of equal length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: tuple[float, ...]
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Logistic:
    """Map a similarity to the probability that both photos show one person.

    It assumes that one person and two people are equally likely beforehand. The log odds are
    `slope` * similarity + `intercept`, limited to +-`limit`. `cllr` is the cost of the log
    likelihood ratio, in bits, on people that it was not fitted on: 0 for perfect knowledge, 1 for
    always answering one half (Bruemmer and du Preez 2006).
    """

    slope: float
    intercept: float
    limit: float
    cllr: float

    def __call__(self, similarity: float) -> float:
        """Return the probability; it never falls as the similarity rises."""
        odds = self.slope * similarity + self.intercept
        return 1 / (1 + math.exp(-min(max(odds, -self.limit), self.limit)))


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Hold the rates among the people of one group, at an operating point set on all people.

    `data` says in a sentence what photos were compared. A rate is None if there were no
    comparisons.
    """

    group: str
    point: str
    images: int
    failure_to_enrol: float
    genuine_pairs: int
    impostor_pairs: int
    fmr: Rate | None = None
    fnmr: Rate | None = None
    data: str = ""


@dataclass(frozen=True, slots=True)
class ConditionRates:
    """Hold how a condition changes decisions at one operating point; all rates 0 to 1.

    `fmr` is measured in `impostor_pairs` comparisons of two people, where both photos show the
    condition. `match_rate` is measured on photos of one person that both show it,
    `match_rate_one` where only the probe does; None if no photos of one person were compared. The
    condition `none` stands for the same photos without any change. `data` says in a sentence
    which people `fmr` was measured on, `match_data` what the match rates were measured on.
    """

    condition: ConditionName | Literal["none"]
    point: str
    impostor_pairs: int
    fmr: Rate
    match_rate: float | None = None
    match_rate_one: float | None = None
    data: str = ""
    match_data: str = ""


@dataclass(frozen=True, slots=True)
class FusionRates:
    """Hold both rates at an operating point where several photos are fused on either side.

    `probes` and `templates` are the numbers of photos on each side. The rates come from `genuine`
    comparisons of one person and `impostor` comparisons of two.
    """

    probes: int
    templates: int
    point: str
    fmr: float
    fnmr: float
    genuine: int
    impostor: int
    data: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Say on which photos error rates were measured, and under which conditions.

    The rates hold for up to `photos` photos on either side. `data` is None if nothing was
    measured.
    """

    data: str | None
    conditions: tuple[ConditionName, ...]
    photos: int


Outcome = Literal["match", "no_match", "inconclusive"]

# The default operating point claims at most this FMR, if the bundle has such a point,
_LAXEST_DEFAULT = 1e-3
# and rejects at most this share of genuine comparisons.
_MOST_REFUSED = 0.05
# A condition is outside the evidence if two people match this many times as often as claimed.
_MOST_ABOVE_CLAIM = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold an outcome and what led to it.

    A similarity of at least `threshold` is a match, one below `floor` is no match, and one between
    them is inconclusive. `point` is None if the caller chose the threshold. `probability` is None
    if the bundle cannot give one. `doubts` are conditions of both photos for which the rates of
    the point do not hold: they make a match inconclusive. `laxer` is the point whose threshold is
    the floor.
    """

    outcome: Outcome
    similarity: float
    threshold: float
    floor: float
    point: OperatingPoint | None
    probability: float | None = None
    doubts: tuple[ConditionName, ...] = ()
    laxer: OperatingPoint | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Turn a similarity into a decision.

    `outside` are the conditions for which the rates of the point do not hold. `laxer` is the point
    whose threshold is the floor.
    """

    threshold: float
    floor: float
    point: OperatingPoint | None
    probability: Logistic | None = None
    outside: frozenset[ConditionName] = frozenset()
    laxer: OperatingPoint | None = None

    def decide(
        self, similarity: float, conditions: Collection[ConditionName] = frozenset()
    ) -> Decision:
        """Decide on the similarity of two sides that both show `conditions`.

        Raises DegenerateVector if the similarity is NaN or infinite.
        """
        if not math.isfinite(similarity):
            raise DegenerateVector("The similarity is not a number: a vector is damaged.")
        doubts: tuple[ConditionName, ...] = ()
        if similarity >= self.threshold:
            doubts = tuple(sorted(self.outside.intersection(conditions)))
            outcome: Outcome = "inconclusive" if doubts else "match"
        elif similarity < self.floor:
            outcome = "no_match"
        else:
            outcome = "inconclusive"
        probability = None if self.probability is None else self.probability(similarity)
        return Decision(
            outcome,
            similarity,
            self.threshold,
            self.floor,
            self.point,
            probability,
            doubts,
            self.laxer,
        )


def rule_at(
    points: Sequence[OperatingPoint],
    name: str | None = None,
    threshold: float | None = None,
    probability: Logistic | None = None,
    conditions: Sequence[ConditionRates] = (),
) -> Rule:
    """Return the rule of the operating point `name`, of a caller's threshold, or the default.

    The threshold of the next laxer point is the floor, so a similarity that reaches the laxer
    point only is inconclusive. A caller's own threshold has no such range, and no error rates.
    `conditions` are the rates measured under conditions, at any point. Raises Uncalibrated if the
    bundle has no points and the caller gives no threshold, and UnknownOperatingPoint.
    """
    if threshold is not None:
        return Rule(threshold, threshold, None, probability)
    if not points:
        raise Uncalibrated(
            "This bundle has no operating points, so no threshold was measured; pass "
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
    point, laxer = ordered[index], ordered[max(index - 1, 0)]
    outside = _outside_evidence(point, conditions)
    return Rule(point.threshold, laxer.threshold, point, probability, outside, laxer)


def default_point(points: Sequence[OperatingPoint]) -> str:
    """Return the strictest point that is well measured and rejects few genuine comparisons.

    Well measured is a point that is not extrapolated; few is an FNMR of at most 5 %. The point
    claims an FMR of at most 1e-3, unless no point does.
    """
    measured = [point for point in points if not point.extrapolated] or list(points)
    strict = [point for point in measured if point.claim <= _LAXEST_DEFAULT * 1.001]
    if not strict:
        return max(measured, key=lambda point: point.threshold).name
    good = [point for point in strict if point.fnmr.value <= _MOST_REFUSED]
    if good:
        return max(good, key=lambda point: point.threshold).name
    return min(strict, key=lambda point: point.threshold).name


def _outside_evidence(
    point: OperatingPoint, conditions: Sequence[ConditionRates]
) -> frozenset[ConditionName]:
    """Return the conditions under which two people match far more often than a point claims.

    The rate must also exceed that of the unchanged photos; otherwise the condition is not the
    cause.
    """
    own = [rates for rates in conditions if rates.point == point.name]
    plain = max((rates.fmr.value for rates in own if rates.condition == "none"), default=0.0)
    limit = max(_MOST_ABOVE_CLAIM * point.claim, plain)
    return frozenset(
        rates.condition for rates in own if rates.condition != "none" and rates.fmr.value > limit
    )


_CONDITION_PHRASES: Final[Mapping[ConditionName, str]] = MappingProxyType(
    {
        "blurred": "blurred",
        "masked": "of a face behind a mask or a hand",
        "dark_glasses": "of a face behind dark glasses",
        "small": "of a small face",
        "dark": "dark",
        "compressed": "strongly compressed",
    }
)


def explain(decision: Decision, templates: int, photos: int = 1) -> str:
    """Say in a sentence why the decision fell as it did.

    `templates` is the number of templates of the subject, `photos` that of photos of the probe.
    """
    score = f"The similarity {decision.similarity:.3f}"
    point = decision.point
    if point is None:
        place = "reaches" if decision.outcome == "match" else "is below"
        return f"{score} {place} the threshold {decision.threshold:.3f} that you chose."
    # No rate is known to more than two digits.
    one_in = float(f"{1 / max(point.fmr.value, 1e-9):.2g}")
    sides = _count_sides(templates, photos)
    if decision.doubts:
        defects = " and ".join(_CONDITION_PHRASES[each] for each in decision.doubts)
        return (
            f"{score} reaches the threshold {decision.threshold:.3f}, but both photos are "
            f"{defects}: in such photos, two different people reach it far more often than in 1 of "
            f"{one_in:,.0f} comparisons. Take another photo.{sides}"
        )
    match decision.outcome:
        case "match":
            return (
                f"{score} reaches the threshold {decision.threshold:.3f}; 1 in {one_in:,.0f} "
                f"comparisons of two different people also does.{sides}"
            )
        case "no_match":
            laxer = decision.laxer or point
            return (
                f"{score} is below {decision.floor:.3f}; {laxer.fnmr.value:.1%} of the comparisons "
                f"of one person also are.{sides}"
            )
        case "inconclusive":
            return (
                f"{score} is between {decision.floor:.3f} and {decision.threshold:.3f}: too high "
                "for two different people, too low to be sure of one person. Take another "
                f"photo.{sides}"
            )


def _count_sides(templates: int, photos: int) -> str:
    if templates == photos == 1:
        return ""
    sides = [
        f"{count} {name}"
        for count, name in ((photos, "photos"), (templates, "templates"))
        if count > 1
    ]
    return f" The similarity combines {' and '.join(sides)}."
