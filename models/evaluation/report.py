"""The evidence of an evaluation: what goes into its JSON and onto its page."""

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
from models.evaluation.captures import Captures
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons, Scores
from models.evaluation.fusion import fusion_rates
from models.evaluation.measure import (
    Evidence,
    FoldAccuracy,
    add_evidence,
    calibrate,
    compare_photos,
    fold_accuracy,
    group_rates,
    keep_unsupported_points,
    measure_kept_points,
)
from models.evaluation.rates import ERRORS_NEEDED, FMR_TARGETS, operating_points, point_name
from models.evaluation.reject import RejectRates, reject_rates
from models.evaluation.strangers import StrangerSet, condition_rates_of, fill_match_rates

TABLE_TARGETS = (1e-1, *FMR_TARGETS)
WORST = 12
_BINS = 80
_CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class TableRow:
    """Hold the point at an FMR, or none where fewer than `needed` impostor pairs are there."""

    fmr: float
    needed: int
    point: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Hold the trade-off of both errors as the threshold rises."""

    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Hold the share of comparisons in every bin; there is one edge more than bins."""

    edges: tuple[float, ...]
    genuine: tuple[float, ...]
    impostor: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WorstError:
    """Hold a pair that was judged most wrongly; `a` and `b` are files below the folder."""

    kind: Literal["false_match", "false_non_match"]
    similarity: float
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class RejectedPhoto:
    """Hold a photo that could not be enrolled, and the code of the reason."""

    image: str
    reason: str


class Report(BaseModel):
    """Hold one evaluation; `folder` is where the files of its pairs are.

    `calibration` is that of the photos. Where the bundle keeps its own, `kept_calibration` is that,
    with what was measured now; it is no part of the JSON. `groups`, `conditions` and `fusion` are
    what was measured now, of which a calibration takes what rests on more than it holds.
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
    rejected: tuple[RejectedPhoto, ...]
    kept_calibration: Calibration | None = Field(None, exclude=True)

    @property
    def to_write(self) -> Calibration:
        """Return the calibration that the bundle is to have from now on."""
        return self.calibration if self.kept_calibration is None else self.kept_calibration


@dataclass(frozen=True, slots=True)
class ConditionCaptures:
    """Hold labelled photos under every condition: the `photos` at some places of a set."""

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
    """Measure everything there is to say; `data` says in a sentence what the photos are.

    Points that the photos are too few for are kept from the bundle. With `keep_points` all of
    them are kept, and the report shows what the photos say of them. `conditions` and `strangers`
    add what they show: strangers without identities tell more of false matches.

    Raises LikenessError if there are no points to keep, or no pairs of both kinds.
    """
    every = compare_photos(labelled, embedded.vectors, bundle.cohort)
    fresh = calibrate(labelled, embedded.vectors, data, every, bundle.cohort)
    if keep_points:
        held = own_calibration(bundle)
        again = measure_kept_points(held.operating_points, every)
        shown = fresh.model_copy(update={"operating_points": again})
    else:
        held = shown = keep_unsupported_points(fresh, bundle.manifest.calibration, every)
    lax = operating_points(every, TABLE_TARGETS[:1])
    points = shown.operating_points
    known = Evidence(
        group_rates(labelled, every, embedded.enrolled, (*lax, *points), data),
        _condition_rates(labelled, bundle, points, data, conditions),
        _fusion_rates(labelled, embedded, bundle, held, data),
    )
    apart = Evidence() if strangers is None else _among(strangers, bundle, points)
    to_write = add_evidence(add_evidence(held, known), apart)
    now = Evidence(
        known.groups + apart.groups,
        fill_match_rates(apart.conditions, known.conditions),
        known.fusion,
    )
    return Report(
        bundle=bundle.manifest.name,
        fingerprint=bundle.fingerprint,
        folder=labelled.folder.resolve(),
        calibration=add_evidence(shown, now) if keep_points else to_write,
        fold_accuracy=fold_accuracy(labelled, embedded.vectors, bundle.cohort),
        table=_table((*lax, *points)),
        det=det_curve(every.genuine, every.impostor),
        histogram=_histogram(every),
        groups=now.groups,
        conditions=now.conditions,
        fusion=now.fusion,
        reject=_reject(embedded, bundle, every, to_write),
        worst=worst_errors(labelled, every),
        rejected=tuple(RejectedPhoto(*item) for item in sorted(embedded.rejected.items())),
        kept_calibration=to_write if keep_points else None,
    )


def own_calibration(bundle: Bundle) -> Calibration:
    """Return the calibration of a bundle; raises LikenessError if it has no operating points."""
    calibration = bundle.manifest.calibration
    if calibration is None or not calibration.operating_points:
        raise LikenessError(
            f"The bundle {bundle.manifest.name} has no operating points to measure at or to keep: "
            "measure it on photos of people you know first."
        )
    return calibration


def measure_strangers(bundle: Bundle, strangers: StrangerSet) -> tuple[Calibration, Calibration]:
    """Measure at the bundle's own points what strangers show.

    Returns its calibration to show, with all that was measured, and the one to write, which takes
    of it what rests on more than it holds. Raises LikenessError if it has no points.
    """
    own = own_calibration(bundle)
    now = _among(strangers, bundle, own.operating_points)
    shown = {"groups": now.groups, "conditions": fill_match_rates(now.conditions, own.conditions)}
    return own.model_copy(update=shown), add_evidence(own, now)


def _among(strangers: StrangerSet, bundle: Bundle, points: Sequence[OperatingPoint]) -> Evidence:
    groups = strangers.group_rates(bundle.cohort, points)
    return Evidence(groups, strangers.condition_rates(bundle.cohort, points))


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
    """Fuse as the bundle will with this calibration, on which the scores of several photos rest."""
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
    # A photo that was not enrolled is not judged: it is turned away last, and fails.
    qualities = np.where(embedded.enrolled, qualities, np.float32(2))
    return reject_rates(every, qualities, threshold)


def _table(points: tuple[OperatingPoint, ...]) -> tuple[TableRow, ...]:
    named = {point.name: point for point in points}
    return tuple(
        TableRow(fmr, round(ERRORS_NEEDED / fmr), named.get(point_name(fmr)))
        for fmr in TABLE_TARGETS
    )


def det_curve(genuine: Scores, impostor: Scores) -> DetCurve:
    """Return FMR and FNMR at thresholds that are dense where either is small."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.concatenate([_ends(genuine), _ends(impostor[::-1])]))
    fmr = 1 - np.searchsorted(impostor, thresholds) / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds) / len(genuine)
    return DetCurve(tuple(fmr.tolist()), tuple(fnmr.tolist()))


def _ends(scores: Scores) -> Scores:
    """Return scores at ranks 1, 2, 4 and so on, with steps between."""
    ranks = np.unique(np.geomspace(1, len(scores), _CURVE_POINTS).astype(int)) - 1
    return np.asarray(scores[ranks])


def _histogram(comparisons: Comparisons) -> Histogram:
    kinds = [
        scores[scores > NOT_ENROLLED] for scores in (comparisons.genuine, comparisons.impostor)
    ]
    lowest = min((float(scores.min()) for scores in kinds if len(scores)), default=LOWEST_SCORE)
    edges = np.linspace(lowest, 1, _BINS + 1)
    # Cosines of one photo with itself exceed 1 by an ulp.
    genuine, impostor = (_shares(np.minimum(scores, 1), edges) for scores in kinds)
    return Histogram(tuple(edges.tolist()), genuine, impostor)


def _shares(scores: Scores, edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(scores, edges)
    return tuple((counts / max(len(scores), 1)).tolist())


def worst_errors(
    labelled: LabelledSet, comparisons: Comparisons, most: int = WORST
) -> tuple[WorstError, ...]:
    """Return the likest strangers and the unlikest photos of one person, worst first."""
    same, scores = comparisons.same, comparisons.scores
    strangers = np.flatnonzero(~same & (scores > NOT_ENROLLED))
    one_person = np.flatnonzero(same & (scores > NOT_ENROLLED))
    likest = strangers[np.argsort(-scores[strangers], kind="stable")[:most]]
    unlikest = one_person[np.argsort(scores[one_person], kind="stable")[:most]]
    kinds: tuple[tuple[Literal["false_match", "false_non_match"], NDArray[np.int64]], ...]
    kinds = (("false_match", likest), ("false_non_match", unlikest))
    return tuple(
        WorstError(kind, float(scores[at]), *(labelled.images[i] for i in comparisons.photos[at]))
        for kind, places in kinds
        for at in places
    )
