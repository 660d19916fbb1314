"""The evidence of an evaluation: what goes into its JSON and onto its page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.bundle import Bundle, Calibration
from models.calibration import ERRORS_NEEDED, FMR_TARGETS, operating_points, point_name
from models.comparisons import Comparisons, Scores
from models.decision import OperatingPoint
from models.embedded import Embedded
from models.evaluate import (
    FoldAccuracy,
    GroupRates,
    calibrate,
    compared,
    fold_accuracy,
    group_rates,
)
from models.protocols import LabelledSet

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
class Curve:
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
class Rejected:
    """Hold a photo that could not be enrolled, and the code of the reason."""

    image: str
    reason: str


class Report(BaseModel):
    """Hold one evaluation; `folder` is where the files of its pairs are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    fingerprint: str
    folder: Path
    calibration: Calibration
    fold_accuracy: FoldAccuracy | None
    table: tuple[TableRow, ...]
    det: Curve
    histogram: Histogram
    groups: tuple[GroupRates, ...]
    worst: tuple[WorstError, ...]
    rejected: tuple[Rejected, ...]


def make_report(labelled: LabelledSet, embedded: Embedded, bundle: Bundle, data: str) -> Report:
    """Measure everything there is to say; `data` says in a sentence what the photos are."""
    every = compared(labelled, embedded.vectors)
    calibration = calibrate(labelled, embedded.vectors, data, every)
    lax = operating_points(every, TABLE_TARGETS[:1])
    points = (*lax, *calibration.operating_points)
    return Report(
        bundle=bundle.manifest.name,
        fingerprint=bundle.fingerprint,
        folder=labelled.folder.resolve(),
        calibration=calibration,
        fold_accuracy=fold_accuracy(labelled, embedded.vectors),
        table=_table(points),
        det=det_curve(every.genuine, every.impostor),
        histogram=_histogram(every),
        groups=group_rates(labelled, every, embedded.enrolled, points),
        worst=worst_errors(labelled, every),
        rejected=tuple(Rejected(*item) for item in sorted(embedded.rejected.items())),
    )


def _table(points: tuple[OperatingPoint, ...]) -> tuple[TableRow, ...]:
    named = {point.name: point for point in points}
    return tuple(
        TableRow(fmr, round(ERRORS_NEEDED / fmr), named.get(point_name(fmr)))
        for fmr in TABLE_TARGETS
    )


def det_curve(genuine: Scores, impostor: Scores) -> Curve:
    """Return FMR and FNMR at thresholds that are dense where either is small."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.concatenate([_ends(genuine), _ends(impostor[::-1])]))
    fmr = 1 - np.searchsorted(impostor, thresholds) / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds) / len(genuine)
    return Curve(tuple(fmr.tolist()), tuple(fnmr.tolist()))


def _ends(scores: Scores) -> Scores:
    """Return scores at ranks 1, 2, 4 and so on, with steps between."""
    ranks = np.unique(np.geomspace(1, len(scores), _CURVE_POINTS).astype(int)) - 1
    return np.asarray(scores[ranks])


def _histogram(comparisons: Comparisons) -> Histogram:
    kinds = [scores[scores > -1] for scores in (comparisons.genuine, comparisons.impostor)]
    lowest = min((float(scores.min()) for scores in kinds if len(scores)), default=-1.0)
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
    strangers = np.flatnonzero(~same & (scores > -1))
    one_person = np.flatnonzero(same & (scores > -1))
    likest = strangers[np.argsort(-scores[strangers], kind="stable")[:most]]
    unlikest = one_person[np.argsort(scores[one_person], kind="stable")[:most]]
    kinds: tuple[tuple[Literal["false_match", "false_non_match"], NDArray[np.int64]], ...]
    kinds = (("false_match", likest), ("false_non_match", unlikest))
    return tuple(
        WorstError(kind, float(scores[at]), *(labelled.images[i] for i in comparisons.photos[at]))
        for kind, places in kinds
        for at in places
    )
