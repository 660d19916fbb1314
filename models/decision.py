"""From a similarity to match, no match or inconclusive, and the evidence for it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.errors import DegenerateVector, FingerprintMismatch, Uncalibrated, UnknownOperatingPoint

Outcome = Literal["match", "no_match", "inconclusive"]

# What may be wrong with a photo so that strangers look alike in it.
ConditionName = Literal["blurred", "masked", "dark_glasses", "small", "dark", "compressed"]
CONDITION_NAMES: tuple[ConditionName, ...] = get_args(ConditionName)

# The default operating point is never laxer than this one, if the bundle has it,
LAXEST_DEFAULT = 1e-3
# nor so strict that it refuses more than this share of genuine comparisons.
MOST_REFUSED = 0.05
# A condition is outside the evidence where strangers match so many times as often as is claimed.
MOST_ABOVE_CLAIM = 2


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
    An `extrapolated` point rests on fewer than 30 false matches. `kept` says that it is that of
    an earlier calibration, which the photos of the last one were too few to replace. `data` says
    in a sentence on what photos it was measured, if not on those of the calibration.
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
        """Return the FMR that its name claims: 1e-3 for `fmr_1e-3`; else the measured one."""
        try:
            return float(self.name.removeprefix("fmr_"))
        except ValueError:
            return self.fmr.value


@dataclass(frozen=True, slots=True)
class Logistic:
    """Map a similarity to a probability, if both answers were equally likely beforehand.

    The log odds are `slope` * similarity + `intercept`, held within +-`limit`. `cllr` is the
    cost of the log likelihood ratio on people it was not fitted on, in bits: 0 for a judge
    who knows, 1 for one who always says one half (Bruemmer and du Preez 2006).
    """

    slope: float
    intercept: float
    limit: float
    cllr: float

    def __call__(self, similarity: float) -> float:
        """Return the probability; it never falls as the similarity rises."""
        odds = self.slope * similarity + self.intercept
        return 1 / (1 + math.exp(-min(max(odds, -self.limit), self.limit)))


class RateCurve(BaseModel):
    """Hold `fmr` and `fnmr`, 0 to 1, at `thresholds`, evenly spaced and rising; of one length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: tuple[float, ...]
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Hold the rates among the people of one group, at one operating point of everybody.

    `data` says in a sentence what photos were compared. Rates are None where none were.
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
    """Hold what a condition does to decisions at one operating point; all rates 0 to 1.

    `fmr` is among strangers who both show the condition, in `impostor_pairs` comparisons.
    `match_rate` is that of photos of one person which both show it, `match_rate_one` where only
    the probe does; None where no photos of one person were compared. The condition `none` is
    that of the same photos as they are. `data` says in a sentence who the strangers are, and
    `match_data` what the match rates were measured on.
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

    So many `probes` of one person against so many `templates`, in `genuine` comparisons of one
    person and `impostor` ones of two.
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
    """Say on which photos error rates were measured, and under which conditions besides.

    The rates hold for up to so many `photos` on either side.
    """

    data: str | None
    conditions: tuple[ConditionName, ...]
    photos: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold an outcome and what led to it.

    At or above `threshold` is a match. Below `floor` is no match; between them the score is
    inconclusive. `point` is None if the caller chose the threshold, `probability` if the
    bundle has none. `doubts` are conditions of both photos for which the rates of the point do
    not hold: they make a match inconclusive.
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
    """Hold what turns a similarity into an outcome and a probability.

    `outside` are the conditions for which the rates of the point do not hold; `laxer` is the point
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
        """Decide on a similarity of two sides that both show `conditions`.

        Raises DegenerateVector for one that is no number, which is below nothing and above nothing.
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
    """Return the rule of a named operating point, of a caller's threshold, or the default.

    `conditions` is what was measured under conditions, at any points.

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
    point, laxer = ordered[index], ordered[max(index - 1, 0)]
    outside = outside_evidence(point, conditions)
    return Rule(point.threshold, laxer.threshold, point, probability, outside, laxer)


def default_point(points: Sequence[OperatingPoint]) -> str:
    """Return the strictest point that is well measured and refuses few.

    That is: not extrapolated, and its FNMR is MOST_REFUSED at most. It is not laxer than
    LAXEST_DEFAULT unless no point is as strict.
    """
    measured = [point for point in points if not point.extrapolated] or list(points)
    strict = [point for point in measured if point.claim <= LAXEST_DEFAULT * 1.001]
    if not strict:
        return max(measured, key=lambda point: point.threshold).name
    good = [point for point in strict if point.fnmr.value <= MOST_REFUSED]
    if good:
        return max(good, key=lambda point: point.threshold).name
    return min(strict, key=lambda point: point.threshold).name


def outside_evidence(
    point: OperatingPoint, conditions: Sequence[ConditionRates]
) -> frozenset[ConditionName]:
    """Return the conditions under which strangers match far more often than a point claims.

    And more often than in the same photos as they are: what these show already is not due to the
    condition, but to who is on them, or to two photos of one person among the strangers.
    """
    own = [rates for rates in conditions if rates.point == point.name]
    plain = max((rates.fmr.value for rates in own if rates.condition == "none"), default=0.0)
    limit = max(MOST_ABOVE_CLAIM * point.claim, plain)
    return frozenset(
        rates.condition for rates in own if rates.condition != "none" and rates.fmr.value > limit
    )


# The power of the coherence by which the scores of strangers spread; tests/tools/bench/NOTES.md.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Template:
    """Hold a unit vector `(d,)` float32, the fingerprint of its bundle, and its cohort mean.

    `mean` is by the cohort of that bundle (see `cohort`), and 0 if it has none. `coherence` is
    how far several photos agree that were fused into the vector: the length of the mean of their
    unit vectors, 0 to 1, and 1 for one photo. `conditions` are what is wrong with all of them, and
    `quality` how well its person is recognised by it, 0 to 1, if that was judged;
    one that `is_poor` is seldom recognised. `strangers` is the mean score of two strangers by the
    bundle, if that was measured.
    """

    vector: NDArray[np.float32]
    fingerprint: str
    mean: float = 0.0
    coherence: float = 1.0
    conditions: frozenset[ConditionName] = frozenset()
    quality: float | None = None
    is_poor: bool = False
    strangers: float | None = None


def similarities(probes: Sequence[Template], references: Sequence[Template]) -> NDArray[np.float32]:
    """Return the scores `(n, m)` of probes and references of one bundle, as `similarity` does."""
    columns = []
    for side in (probes, references):
        vectors = np.array([each.vector for each in side], np.float32)
        means = np.array([each.mean for each in side], np.float32)
        coherences = np.array([each.coherence for each in side], np.float32)
        columns.append((vectors, means, coherences))
    (a, mean_a, coherence_a), (b, mean_b, coherence_b) = columns
    scores = np.asarray(a @ b.T - (mean_a[:, None] + mean_b) / 2, np.float32)
    centre = probes[0].strangers if probes else None
    if centre is None:
        return scores
    spread = (coherence_a[:, None] * coherence_b) ** _SPREAD
    return np.asarray(centre + spread * (scores - centre), np.float32)


def cosine(probe: Template, reference: Template) -> float:
    """Return the cosine of two templates, -1 to 1.

    Raises FingerprintMismatch: vectors of different bundles live in different spaces.
    """
    if probe.fingerprint != reference.fingerprint:
        raise FingerprintMismatch(
            f"A template of bundle {reference.fingerprint[:12]} cannot be compared with one "
            f"of bundle {probe.fingerprint[:12]}; enrol the subject again."
        )
    return float(np.clip(np.dot(probe.vector, reference.vector), -1.0, 1.0))


def similarity(probe: Template, reference: Template) -> float:
    """Return the score that decisions are taken on: the cosine less what both share with everybody.

    -2 to 1; for single photos and a bundle without a cohort, the cosine itself. Fused templates
    hold less noise, so that scores of strangers spread further about their mean: by the coherence
    they are brought back to the spread that thresholds were set on. Raises FingerprintMismatch.
    """
    score = cosine(probe, reference) - (probe.mean + reference.mean) / 2
    if probe.strangers is None:
        return score
    spread = math.pow(probe.coherence * reference.coherence, _SPREAD)
    return probe.strangers + spread * (score - probe.strangers)


_WORDS: Final[Mapping[ConditionName, str]] = MappingProxyType(
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

    The subject has so many templates, and the probe so many photos.
    """
    score = f"The similarity {decision.similarity:.3f}"
    point = decision.point
    if point is None:
        place = "reaches" if decision.outcome == "match" else "is below"
        return f"{score} {place} the threshold {decision.threshold:.3f} that you chose."
    # No rate is known to more than two digits.
    one_in = float(f"{1 / max(point.fmr.value, 1e-9):.2g}")
    many = _many(templates, photos)
    if decision.doubts:
        wrong = " and ".join(_WORDS[each] for each in decision.doubts)
        return (
            f"{score} reaches {decision.threshold:.3f}, but both photos are {wrong}: of strangers "
            f"in such photos far more reach it than one in {one_in:,.0f}. Take another photo.{many}"
        )
    match decision.outcome:
        case "match":
            return (
                f"{score} reaches {decision.threshold:.3f}; of {one_in:,.0f} comparisons of "
                f"strangers one does.{many}"
            )
        case "no_match":
            laxer = decision.laxer or point
            return (
                f"{score} is below {decision.floor:.3f}; of comparisons of one person, "
                f"{laxer.fnmr.value:.1%} are.{many}"
            )
        case "inconclusive":
            return (
                f"{score} is between {decision.floor:.3f} and {decision.threshold:.3f}: too like "
                f"for strangers, too unlike to vouch for. Take another photo.{many}"
            )


def _many(templates: int, photos: int) -> str:
    if templates == photos == 1:
        return ""
    sides = [
        f"{count} {name}"
        for count, name in ((photos, "photos"), (templates, "templates"))
        if count > 1
    ]
    return f" By {' and '.join(sides)} together."
