"""Make the report of an evaluation, which becomes its JSON and its page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.bundle import Bundle, Calibration
from models.cohort import LOWEST_SCORE
from models.datasets.features import VectorSet
from models.datasets.labelled import LabelledSet
from models.decision import (
    ConditionRates,
    FusionRates,
    GroupRates,
    OperatingPoint,
    Template,
    default_point,
)
from models.errors import LikenessError
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons, Scores
from models.evaluation.conditions import Captures
from models.evaluation.fusion import fusion_rates
from models.evaluation.measure import (
    FoldAccuracy,
    MeasuredRates,
    add_rates,
    calibrate,
    compare_photos,
    fold_accuracy,
    group_rates,
    keep_unsupported_points,
    measure_kept_points,
)
from models.evaluation.rates import (
    ERRORS_NEEDED,
    FMR_TARGETS,
    RejectRates,
    operating_points,
    point_name,
    reject_rates,
)
from models.evaluation.strangers import StrangerSet, condition_rates_of, fill_match_rates

TABLE_TARGETS = (1e-1, *FMR_TARGETS)
WORST = 12
_BINS = 80
_CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class TableRow:
    """Hold the operating point at an FMR, or None with fewer than `needed` impostor pairs."""

    fmr: float
    needed: int
    point: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Hold FMR and FNMR at rising thresholds."""

    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Hold the share of comparisons in each of `n` bins; `edges` has `n + 1` values."""

    edges: tuple[float, ...]
    genuine: tuple[float, ...]
    impostor: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WorstError:
    """Hold one of the worst errors; `a` and `b` are files in the folder."""

    kind: Literal["false_match", "false_non_match"]
    similarity: float
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class UnusablePhoto:
    """Hold a photo that could not be enrolled, and the code of the error."""

    image: str
    reason: str


class Report(BaseModel):
    """Hold one evaluation; `folder` is the folder of the photos.

    `calibration` is what the photos say. If the bundle keeps its own points, `kept_calibration` is
    its calibration with the new rates; it is not part of the JSON. `groups`, `conditions` and
    `fusion` are all new rates; a calibration takes only those that rest on more comparisons than
    its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    fingerprint: str
    folder: Path
    calibration: Calibration
    fold_accuracy: FoldAccuracy | None
    table: tuple[TableRow, ...]
    det: DetCurve
    histogram: Histogram
    groups: tuple[GroupRates, ...]
    conditions: tuple[ConditionRates, ...] = ()
    fusion: tuple[FusionRates, ...] = ()
    reject: tuple[RejectRates, ...] = ()
    worst: tuple[WorstError, ...]
    rejected: tuple[UnusablePhoto, ...]
    kept_calibration: Calibration | None = Field(None, exclude=True)

    @property
    def to_write(self) -> Calibration:
        """Return the calibration to write into the bundle."""
        return self.calibration if self.kept_calibration is None else self.kept_calibration


@dataclass(frozen=True, slots=True)
class ConditionCaptures:
    """Hold the photos at places `photos` `(n,)` of a labelled set, under every condition."""

    photos: NDArray[np.int64]
    captures: Captures


def make_report(
    labelled: LabelledSet,
    embedded: VectorSet,
    bundle: Bundle,
    data: str,
    conditions: ConditionCaptures | None = None,
    strangers: StrangerSet | None = None,
    keep_points: bool = False,
) -> Report:
    """Measure everything that a report holds; `data` is a sentence that says what the photos are.

    Points that the photos are too few to set are kept from the bundle. With `keep_points` the
    bundle keeps all its points, and the report shows their rates on the photos. `conditions` and
    `strangers` add further rates; photos of strangers need no labels, so there can be many more.

    Raises LikenessError if there are no points to keep, or if pairs of one kind are missing.
    """
    every = compare_photos(labelled, embedded.vectors, bundle.cohort)
    fresh = calibrate(labelled, embedded.vectors, data, every, bundle.cohort)
    if keep_points:
        calibration = own_calibration(bundle)
        again = measure_kept_points(calibration.operating_points, every)
        shown = fresh.model_copy(update={"operating_points": again})
    else:
        calibration = shown = keep_unsupported_points(fresh, bundle.manifest.calibration, every)
    lax = operating_points(every, TABLE_TARGETS[:1])
    points = shown.operating_points
    known = MeasuredRates(
        group_rates(labelled, every, embedded.enrolled, (*lax, *points), data),
        _condition_rates(labelled, bundle, points, data, conditions),
        _fusion_rates(labelled, embedded, bundle, calibration, data),
    )
    unknown = MeasuredRates()
    if strangers is not None:
        unknown = _stranger_rates(strangers, bundle, points)
    to_write = add_rates(add_rates(calibration, known), unknown)
    now = MeasuredRates(
        known.groups + unknown.groups,
        fill_match_rates(unknown.conditions, known.conditions),
        known.fusion,
    )
    return Report(
        bundle=bundle.manifest.name,
        fingerprint=bundle.fingerprint,
        folder=labelled.folder.resolve(),
        calibration=add_rates(shown, now) if keep_points else to_write,
        fold_accuracy=fold_accuracy(labelled, embedded.vectors, bundle.cohort),
        table=_table((*lax, *points)),
        det=det_curve(every.genuine, every.impostor),
        histogram=_histogram(every),
        groups=now.groups,
        conditions=now.conditions,
        fusion=now.fusion,
        reject=_reject(embedded, bundle, every, to_write),
        worst=worst_errors(labelled, every),
        rejected=tuple(UnusablePhoto(*item) for item in sorted(embedded.rejected.items())),
        kept_calibration=to_write if keep_points else None,
    )


def own_calibration(bundle: Bundle) -> Calibration:
    """Return the calibration of a bundle; raises LikenessError if it has no operating points."""
    calibration = bundle.manifest.calibration
    if calibration is None or not calibration.operating_points:
        raise LikenessError(
            f"The bundle {bundle.manifest.name} has no operating points to measure at or to keep. "
            "First measure it on photos of people you know."
        )
    return calibration


def measure_strangers(bundle: Bundle, strangers: StrangerSet) -> tuple[Calibration, Calibration]:
    """Measure the rates of strangers at the bundle's own points.

    Returns the calibration to show, with all new rates, and the calibration to write, with only
    those that rest on more comparisons than its own. Raises LikenessError if the bundle has no
    points.
    """
    own = own_calibration(bundle)
    now = _stranger_rates(strangers, bundle, own.operating_points)
    shown = {"groups": now.groups, "conditions": fill_match_rates(now.conditions, own.conditions)}
    return own.model_copy(update=shown), add_rates(own, now)


def _stranger_rates(
    strangers: StrangerSet, bundle: Bundle, points: Sequence[OperatingPoint]
) -> MeasuredRates:
    groups = strangers.group_rates(bundle.cohort, points)
    return MeasuredRates(groups, strangers.condition_rates(bundle.cohort, points))


def _condition_rates(
    labelled: LabelledSet,
    bundle: Bundle,
    points: Sequence[OperatingPoint],
    data: str,
    conditions: ConditionCaptures | None,
) -> tuple[ConditionRates, ...]:
    if conditions is None or not labelled.complete:
        return ()
    people = labelled.people[conditions.photos]
    return condition_rates_of(conditions.captures, people, bundle.cohort, points, data)


def _fusion_rates(
    labelled: LabelledSet, embedded: VectorSet, bundle: Bundle, calibration: Calibration, data: str
) -> tuple[FusionRates, ...]:
    """Measure fusion with this calibration in the bundle, because fused scores depend on it."""
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    bundle = replace(bundle, manifest=manifest)
    templates, points = _templates(embedded, bundle), calibration.operating_points
    return fusion_rates(templates, labelled.people, bundle, points, data)


def _templates(embedded: VectorSet, bundle: Bundle) -> list[Template | None]:
    return [
        bundle.template(vector, bundle.assess(features)) if vector.any() else None
        for vector, features in zip(embedded.vectors, embedded.features, strict=True)
    ]


def _reject(
    embedded: VectorSet, bundle: Bundle, every: Comparisons, calibration: Calibration
) -> tuple[RejectRates, ...]:
    points = calibration.operating_points
    if bundle.quality is None or not points:
        return ()
    threshold = next(p.threshold for p in points if p.name == default_point(points))
    qualities, _ = bundle.quality.outputs(embedded.features)
    # A photo that was not enrolled has no quality: it is rejected last and is a non-match.
    qualities = np.where(embedded.enrolled, qualities, np.float32(2))
    return reject_rates(every, qualities, threshold)


def _table(points: tuple[OperatingPoint, ...]) -> tuple[TableRow, ...]:
    named = {point.name: point for point in points}
    return tuple(
        TableRow(fmr, round(ERRORS_NEEDED / fmr), named.get(point_name(fmr)))
        for fmr in TABLE_TARGETS
    )


def det_curve(genuine: Scores, impostor: Scores) -> DetCurve:
    """Return FMR and FNMR, at more thresholds where either of them is small."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.concatenate([_ends(genuine), _ends(impostor[::-1])]))
    fmr = 1 - np.searchsorted(impostor, thresholds) / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds) / len(genuine)
    return DetCurve(tuple(fmr.tolist()), tuple(fnmr.tolist()))


def _ends(scores: Scores) -> Scores:
    """Return the scores at geometrically spaced ranks, so most of them are near the low end."""
    ranks = np.unique(np.geomspace(1, len(scores), _CURVE_POINTS).astype(int)) - 1
    return np.asarray(scores[ranks])


def _histogram(comparisons: Comparisons) -> Histogram:
    kinds = [
        scores[scores > NOT_ENROLLED] for scores in (comparisons.genuine, comparisons.impostor)
    ]
    lowest = min((float(scores.min()) for scores in kinds if len(scores)), default=LOWEST_SCORE)
    edges = np.linspace(lowest, 1, _BINS + 1)
    # The cosine of a photo with itself can exceed 1 by a rounding error.
    genuine, impostor = (_shares(np.minimum(scores, 1), edges) for scores in kinds)
    return Histogram(tuple(edges.tolist()), genuine, impostor)


def _shares(scores: Scores, edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(scores, edges)
    return tuple((counts / max(len(scores), 1)).tolist())


def worst_errors(
    labelled: LabelledSet, comparisons: Comparisons, most: int = WORST
) -> tuple[WorstError, ...]:
    """Return the most similar photos of two people and the least similar ones of one person.

    The worst comes first.
    """
    same, scores = comparisons.same, comparisons.scores
    strangers = np.flatnonzero(~same & (scores > NOT_ENROLLED))
    one_person = np.flatnonzero(same & (scores > NOT_ENROLLED))
    false_matches = strangers[np.argsort(-scores[strangers], kind="stable")[:most]]
    false_non_matches = one_person[np.argsort(scores[one_person], kind="stable")[:most]]
    kinds: tuple[tuple[Literal["false_match", "false_non_match"], NDArray[np.int64]], ...]
    kinds = (("false_match", false_matches), ("false_non_match", false_non_matches))
    return tuple(
        WorstError(kind, float(scores[at]), *(labelled.images[i] for i in comparisons.photos[at]))
        for kind, places in kinds
        for at in places
    )
