"""Measure labelled photos into a calibration, and merge it with an older calibration."""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.bundle import Calibration
from models.cohort import LOWEST_SCORE, NO_COHORT, Cohort
from models.datasets.labelled import LabelledSet
from models.decision import ConditionRates, FusionRates, GroupRates, OperatingPoint
from models.errors import LikenessError
from models.evaluation.comparisons import (
    NOT_ENROLLED,
    Comparisons,
    Scores,
    all_pairs,
    compare,
    scores_of,
    subset,
)
from models.evaluation.probability import fit_probability
from models.evaluation.rates import (
    ERRORS_WANTED,
    Bootstrap,
    best_threshold,
    equal_error_rate,
    operating_points,
    pair_accuracy,
    rate_curve,
)
from models.evaluation.strangers import choose_rows

FOLDS = 10

PointRow = TypeVar("PointRow", GroupRates, ConditionRates, FusionRates)


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Hold the accuracy on every fold at the best threshold of the other folds.

    `given` tells the protocol's own folds from folds drawn at random.
    """

    mean: float
    standard_error: float
    folds: tuple[float, ...]
    given: bool


def compare_photos(
    labelled: LabelledSet, vectors: NDArray[np.float32], cohort: Cohort = NO_COHORT
) -> Comparisons:
    """Compare all photos by a cohort, or only the listed pairs where it is not known who is who.

    Raises LikenessError unless there are pairs of both kinds.
    """
    enrolled = np.any(vectors != 0, axis=1)
    if labelled.complete:
        every = all_pairs(vectors, labelled.people, enrolled, cohort)
    else:
        a, b, _ = _columns(labelled)
        every = compare(vectors, labelled.people, enrolled, a, b, cohort)
    if not len(every.genuine) or not len(every.impostor):
        raise LikenessError("There must be pairs of one person and of two, of photos with faces.")
    return every


def calibrate(
    labelled: LabelledSet,
    vectors: NDArray[np.float32],
    data: str,
    comparisons: Comparisons | None = None,
    cohort: Cohort = NO_COHORT,
) -> Calibration:
    """Measure accuracy over the pairs and operating points over all comparisons."""
    scores, same = pair_scores(labelled, vectors, cohort)
    every = compare_photos(labelled, vectors, cohort) if comparisons is None else comparisons
    return Calibration(
        data=data,
        identities=int(labelled.people.max()) + 1,
        images=len(labelled.images),
        genuine_pairs=len(every.genuine),
        impostor_pairs=len(every.impostor),
        failure_to_enrol=float(np.mean(~np.any(vectors != 0, axis=1))),
        accuracy=pair_accuracy(scores[same], scores[~same]),
        eer=equal_error_rate(every.genuine, every.impostor),
        strangers_mean=float(every.impostor.mean()),
        operating_points=operating_points(every),
        probability=fit_probability(every),
        curve=rate_curve(every),
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold what was measured at operating points: by group, under conditions, and fused."""

    groups: tuple[GroupRates, ...] = ()
    conditions: tuple[ConditionRates, ...] = ()
    fusion: tuple[FusionRates, ...] = ()


def keep_unsupported_points(
    new: Calibration, old: Calibration | None, comparisons: Comparisons
) -> Calibration:
    """Return a calibration that takes from `old` what the photos of `new` are too few for.

    A few photos must not loosen a point that many have set: a point which they do not support, or
    only by extrapolation where the old one is measured, keeps its threshold and its evidence, and
    is marked as kept. It is never laxer than the next laxer point; where it is raised for that,
    its FNMR is that of `comparisons`, which `new` was made of, and its FMR remains as a bound.

    What `old` holds by group, under conditions and fused stays at unchanged thresholds alone;
    what is measured now `with_evidence` adds.
    """
    if old is None:
        return new
    fresh = {point.name: point for point in new.operating_points}
    points = []
    for before in old.operating_points:
        after = fresh.pop(before.name, None)
        if after is None or (after.extrapolated and not before.extrapolated):
            points.append(replace(before, kept=True, data=before.data or old.data))
        else:
            points.append(after)
    points = sorted([*points, *fresh.values()], key=lambda point: -point.claim)
    points = _rising(points, comparisons)
    thresholds = {point.name: point.threshold for point in old.operating_points}
    unchanged = {point.name for point in points if thresholds.get(point.name) == point.threshold}
    measured = any(not point.kept and not point.extrapolated for point in points)
    fitted = new if measured else old
    return new.model_copy(
        update={
            "operating_points": tuple(points),
            "strangers_mean": fitted.strangers_mean,
            "probability": fitted.probability,
            "curve": fitted.curve,
            "groups": _rows_at(old.groups, unchanged),
            "conditions": _rows_at(old.conditions, unchanged),
            "fusion": _rows_at(old.fusion, unchanged),
        }
    )


def _rising(points: Sequence[OperatingPoint], comparisons: Comparisons) -> list[OperatingPoint]:
    """Raise each threshold to that of the next laxer point, and measure it there."""
    bootstrap: Bootstrap | None = None
    least = LOWEST_SCORE
    rising = []
    for point in points:
        if point.threshold < least:
            bootstrap = bootstrap or Bootstrap(comparisons)
            # The photos were too few to measure the FMR of a kept point, at a lower threshold.
            fmr = point.fmr if point.kept else bootstrap.fmr(least)
            point = replace(point, threshold=least, fmr=fmr, fnmr=bootstrap.fnmr(least))
        least = point.threshold
        rising.append(point)
    return rising


def measure_kept_points(
    points: Sequence[OperatingPoint], comparisons: Comparisons
) -> tuple[OperatingPoint, ...]:
    """Measure both rates at the thresholds of other photos, which are marked as kept."""
    bootstrap, impostor = Bootstrap(comparisons), comparisons.impostor
    return tuple(
        replace(
            point,
            fmr=bootstrap.fmr(point.threshold),
            fnmr=bootstrap.fnmr(point.threshold),
            held_out_fmr=None,
            extrapolated=int(np.sum(impostor >= point.threshold)) < ERRORS_WANTED,
            kept=True,
            data="",
        )
        for point in points
    )


def add_evidence(calibration: Calibration, new: Evidence) -> Calibration:
    """Add to a calibration what was measured at the thresholds of its points.

    What it holds stays unless the new rests on as many comparisons at least: of strangers in each
    group, of strangers as they are for all conditions of a point together, and of one person for
    all numbers of photos of a point. Rows of other points are left out.
    """
    groups = {(row.group, row.point): row for row in calibration.groups}
    for row in new.groups:
        before = groups.get((row.group, row.point))
        if before is None or row.impostor_pairs >= before.impostor_pairs:
            groups[row.group, row.point] = row
    conditions: list[ConditionRates] = []
    fusion: list[FusionRates] = []
    names = [point.name for point in calibration.operating_points]
    for name in names:
        now, before_now = _rows_at(new.conditions, {name}), _rows_at(calibration.conditions, {name})
        conditions += choose_rows(now, before_now)
        fused, before_fused = _rows_at(new.fusion, {name}), _rows_at(calibration.fusion, {name})
        fusion += fused if _genuine(fused) >= _genuine(before_fused) else before_fused
    return calibration.model_copy(
        update={
            "groups": _in_order(groups.values(), names, lambda row: row.group),
            "conditions": _in_order(conditions, names, lambda row: row.condition),
            "fusion": _in_order(fusion, names, lambda row: (row.probes, row.templates)),
        }
    )


def _rows_at(rows: Iterable[PointRow], points: Collection[str]) -> tuple[PointRow, ...]:
    return tuple(row for row in rows if row.point in points)


def _genuine(rows: Sequence[FusionRates]) -> int:
    return max((row.genuine for row in rows), default=0)


def _in_order(
    rows: Iterable[PointRow], points: Sequence[str], key: Callable[[PointRow], Hashable]
) -> tuple[PointRow, ...]:
    """Put together rows of one key, those first that come first, and sort each by its points."""
    kept = _rows_at(rows, points)
    first: dict[Hashable, int] = {}
    for row in kept:
        first.setdefault(key(row), len(first))
    return tuple(sorted(kept, key=lambda row: (first[key(row)], points.index(row.point))))


def pair_scores(
    labelled: LabelledSet, vectors: NDArray[np.float32], cohort: Cohort = NO_COHORT
) -> tuple[Scores, NDArray[np.bool_]]:
    """Return the scores of the protocol's pairs, and which are of one person.

    NOT_ENROLLED where a photo of a pair could not be enrolled.
    """
    if not labelled.pairs:
        raise LikenessError("The protocol has no pairs.")
    a, b, same = _columns(labelled)
    enrolled = np.any(vectors != 0, axis=1)
    scores = np.where(enrolled[a] & enrolled[b], scores_of(vectors, a, b, cohort), NOT_ENROLLED)
    return scores.astype(np.float32), same


def _columns(
    labelled: LabelledSet,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    table = np.array(labelled.pairs, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(bool)


def fold_accuracy(
    labelled: LabelledSet,
    vectors: NDArray[np.float32],
    cohort: Cohort = NO_COHORT,
    seed: int = 0,
) -> FoldAccuracy | None:
    """Judge each fold at the threshold of the others, as LFW's View 2 does; None if too small.

    Without folds of its own a protocol is cut in ten at random, with as many of each kind in
    each: such folds share people, as those of LFW do not.
    """
    scores, same = pair_scores(labelled, vectors, cohort)
    folds = np.array(labelled.folds, np.int64)
    if not len(folds):
        random = np.random.default_rng(seed)
        folds = np.empty(len(same), np.int64)
        for kind in (same, ~same):
            folds[kind] = random.permutation(int(kind.sum())) % FOLDS
    numbers = np.unique(folds)
    if any(len(np.unique(same[folds == number])) < 2 for number in numbers) or len(numbers) < 2:
        return None
    rates = []
    for number in numbers:
        own = folds == number
        threshold = best_threshold(scores[~own & same], scores[~own & ~same])
        rates.append(float(np.mean((scores[own] >= threshold) == same[own])))
    error = float(np.std(rates, ddof=1) / np.sqrt(len(rates)))
    return FoldAccuracy(float(np.mean(rates)), error, tuple(rates), bool(labelled.folds))


def group_rates(
    labelled: LabelledSet,
    comparisons: Comparisons,
    enrolled: NDArray[np.bool_],
    points: Sequence[OperatingPoint],
    data: str = "",
) -> tuple[GroupRates, ...]:
    """Measure every group by itself: both photos of every comparison are of the group.

    `data` says in a sentence what the photos are.
    """
    groups = np.array(labelled.groups)
    rows = []
    for group in sorted(set(labelled.groups) - {""}):
        member = groups == group
        within = subset(comparisons, member[comparisons.photos].all(axis=1))
        bootstrap = Bootstrap(within) if len(within.scores) else None
        genuine, impostor = len(within.genuine), len(within.impostor)
        for point in points:
            fmr = bootstrap.fmr(point.threshold) if bootstrap and impostor else None
            fnmr = bootstrap.fnmr(point.threshold) if bootstrap and genuine else None
            failed = float(np.mean(~enrolled[member]))
            images = int(member.sum())
            counts = (images, failed, genuine, impostor)
            rows.append(GroupRates(group, point.name, *counts, fmr, fnmr, data))
    return tuple(rows)
