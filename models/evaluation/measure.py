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

    `given` is true for the folds of the protocol, and false for folds drawn at random.
    """

    mean: float
    standard_error: float
    folds: tuple[float, ...]
    given: bool


def compare_photos(
    labelled: LabelledSet, vectors: NDArray[np.float32], cohort: Cohort = NO_COHORT
) -> Comparisons:
    """Compare all photos, or only the listed pairs if the labels do not cover every photo.

    The cohort normalises the scores. Raises LikenessError unless there are pairs of one person
    and pairs of two people.
    """
    enrolled = np.any(vectors != 0, axis=1)
    if labelled.complete:
        every = all_pairs(vectors, labelled.people, enrolled, cohort)
    else:
        a, b, _ = _columns(labelled)
        every = compare(vectors, labelled.people, enrolled, a, b, cohort)
    if not len(every.genuine) or not len(every.impostor):
        raise LikenessError(
            "There must be pairs of one person and of two people, on photos with faces."
        )
    return every


def calibrate(
    labelled: LabelledSet,
    vectors: NDArray[np.float32],
    data: str,
    comparisons: Comparisons | None = None,
    cohort: Cohort = NO_COHORT,
) -> Calibration:
    """Measure the accuracy on the protocol's pairs, and all other rates on all comparisons.

    `data` is a sentence that says what the photos are. `comparisons` are computed if not given.
    """
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
class MeasuredRates:
    """Hold rates measured at operating points: by group, by condition, and for fused photos."""

    groups: tuple[GroupRates, ...] = ()
    conditions: tuple[ConditionRates, ...] = ()
    fusion: tuple[FusionRates, ...] = ()


def keep_unsupported_points(
    new: Calibration, old: Calibration | None, comparisons: Comparisons
) -> Calibration:
    """Return `new` with those points of `old` that the new photos are too few to set.

    A few photos must not loosen a point that many photos have set. So a point of `old` keeps its
    threshold and its rates, and is marked as kept, if the new photos do not support it, or if
    they only extrapolate it and `old` does not. No threshold is below that of the next laxer
    point. A kept threshold that is raised for this reason gets the FNMR of `comparisons`, from
    which `new` was made; its FMR stays, as an upper bound.

    The rates of `old` by group, by condition and for fused photos stay only at unchanged
    thresholds. `add_rates` adds new ones.
    """
    if old is None:
        return new
    fresh = {point.name: point for point in new.operating_points}
    points = []
    for old_point in old.operating_points:
        new_point = fresh.pop(old_point.name, None)
        if new_point is None or (new_point.extrapolated and not old_point.extrapolated):
            points.append(replace(old_point, kept=True, data=old_point.data or old.data))
        else:
            points.append(new_point)
    points = sorted([*points, *fresh.values()], key=lambda point: -point.claim)
    points = _raise_thresholds(points, comparisons)
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


def _raise_thresholds(
    points: Sequence[OperatingPoint], comparisons: Comparisons
) -> list[OperatingPoint]:
    """Raise each threshold to at least that of the next laxer point, and measure it there."""
    bootstrap: Bootstrap | None = None
    least = LOWEST_SCORE
    raised = []
    for point in points:
        if point.threshold < least:
            bootstrap = bootstrap or Bootstrap(comparisons)
            # The new photos are too few to measure the FMR of a kept point.
            fmr = point.fmr if point.kept else bootstrap.fmr(least)
            point = replace(point, threshold=least, fmr=fmr, fnmr=bootstrap.fnmr(least))
        least = point.threshold
        raised.append(point)
    return raised


def measure_kept_points(
    points: Sequence[OperatingPoint], comparisons: Comparisons
) -> tuple[OperatingPoint, ...]:
    """Measure both rates at thresholds that other photos have set, and mark the points as kept."""
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


def add_rates(calibration: Calibration, new: MeasuredRates) -> Calibration:
    """Add rates to a calibration that were measured at the thresholds of its points.

    A new row replaces an old one only if it rests on at least as many comparisons. Impostor
    comparisons count for groups. All conditions of a point are replaced together, by the impostor
    comparisons of plain photos; so are all numbers of photos of a point, by the genuine
    comparisons. Rows of other points are left out.
    """
    groups = {(row.group, row.point): row for row in calibration.groups}
    for row in new.groups:
        old_row = groups.get((row.group, row.point))
        if old_row is None or row.impostor_pairs >= old_row.impostor_pairs:
            groups[row.group, row.point] = row
    conditions: list[ConditionRates] = []
    fusion: list[FusionRates] = []
    names = [point.name for point in calibration.operating_points]
    for name in names:
        new_rows, old_rows = (_rows_at(each.conditions, {name}) for each in (new, calibration))
        conditions += choose_rows(new_rows, old_rows)
        new_fusion, old_fusion = (_rows_at(each.fusion, {name}) for each in (new, calibration))
        fusion += new_fusion if _genuine(new_fusion) >= _genuine(old_fusion) else old_fusion
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
    """Group rows by key, in the order in which keys first occur, and sort a group by point."""
    kept = _rows_at(rows, points)
    first: dict[Hashable, int] = {}
    for row in kept:
        first.setdefault(key(row), len(first))
    return tuple(sorted(kept, key=lambda row: (first[key(row)], points.index(row.point))))


def pair_scores(
    labelled: LabelledSet, vectors: NDArray[np.float32], cohort: Cohort = NO_COHORT
) -> tuple[Scores, NDArray[np.bool_]]:
    """Return the scores `(n,)` of the protocol's pairs, and mark `(n,)` those of one person.

    A pair with a photo that could not be enrolled has the score NOT_ENROLLED. Raises
    LikenessError if the protocol has no pairs.
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
    """Measure the accuracy on each fold at the best threshold of the other folds.

    This is the protocol of LFW's View 2. A protocol without folds is split at random into ten
    folds with equal shares of both kinds of pairs; unlike the folds of LFW, these share people.
    None if a fold has pairs of one kind only.
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
    """Measure the rates within every group, at every point.

    Both photos of a comparison are of the group. `data` is a sentence that says what the photos
    are.
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
