"""Measure false match rates of strangers, within groups of people and under conditions.

The photos need no labels. In a set without labels nearly all pairs are strangers. A pair is
taken for one person and left out if the cosine of its plain photos is very high: at or above
SAME_PERSON of the way from the mean cosine of all pairs to 1, which is 0.85 with SFace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort, Vectors
from models.datasets.people import describe_no_rows, rows_with_files
from models.datasets.tables import RejectedFile, read_table
from models.decision import (
    ConditionRates,
    GroupRates,
    OperatingPoint,
    Rate,
)
from models.errors import LikenessError
from models.evaluation.conditions import CaptureKind, Captures

Mask = NDArray[np.bool_]

SAME_PERSON = 0.84
# The matrix of scores of so many photos and its copies take a gigabyte.
MOST_PHOTOS = 6000
# The rate of a group with fewer photos says little.
FEWEST_PHOTOS = 100
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class GroupedPhotos:
    """Hold the photos `images` in a folder and, by column, a value for each photo.

    `name` is the name of the list. `unusable` are the rows that cannot be used, with reasons.
    """

    folder: Path
    images: list[str]
    columns: dict[str, list[str]]
    name: str = ""
    unusable: list[RejectedFile] = field(default_factory=list)

    def groups(self) -> Iterator[tuple[str, Mask]]:
        """Yield the name of each group, such as `age 0-12`, and a mask `(n,)` of its photos."""
        for column, values in self.columns.items():
            for value in sorted(set(values) - {""}):
                yield f"{column} {value}", np.array([each == value for each in values])


def read_grouped(
    folder: Path, path: Path, most: int = MOST_PHOTOS, outside: bool = False
) -> GroupedPhotos:
    """Read a CSV file with a column `image` and one or more columns of groups.

    Of more than `most` photos, `most` are drawn at random. Raises LikenessError if fewer than
    two photos can be used.
    """
    table = read_table(path, ("image",))
    groups = [name for name in table.columns if name != "image"]
    usable_rows, unusable = rows_with_files(table, "image", folder, outside)
    if not groups:
        raise LikenessError(f"{path} needs at least one column of groups besides `image`.")
    if len(usable_rows) < 2:
        raise LikenessError(describe_no_rows(table, unusable))
    if len(usable_rows) > most:
        drawn = np.random.default_rng(0).choice(len(usable_rows), most, replace=False)
        usable_rows = [usable_rows[at] for at in np.sort(drawn)]
    columns = {name: [row[name] for row in usable_rows] for name in groups}
    name = f"{path.parent.name}/{path.name}"
    return GroupedPhotos(folder, [row["image"] for row in usable_rows], columns, name, unusable)


@dataclass(frozen=True, slots=True)
class StrangerSet:
    """Hold embedded photos without identities; `data` is a sentence that says what they are."""

    photos: GroupedPhotos
    captures: Captures
    data: str

    def group_rates(
        self, cohort: Cohort, points: Sequence[OperatingPoint]
    ) -> tuple[GroupRates, ...]:
        """Measure how often strangers within each group match."""
        return group_rates_of(self.photos, self.captures.plain, cohort, points, self.data)

    def small_groups(self) -> dict[str, int]:
        """Return the groups that are too small to measure, with their numbers of photos."""
        counted = {name: int(member.sum()) for name, member in self.photos.groups()}
        return {name: count for name, count in counted.items() if count < FEWEST_PHOTOS}

    def condition_rates(
        self, cohort: Cohort, points: Sequence[OperatingPoint]
    ) -> tuple[ConditionRates, ...]:
        """Measure how often strangers match under each condition."""
        return condition_rates_of(self.captures, None, cohort, points, self.data)


class StrangerPairs:
    """Compare the pairs of `n` photos that `are_strangers` `(n, n)` marks."""

    def __init__(self, are_strangers: Mask, seed: int = 0) -> None:
        self._are_strangers = np.triu(are_strangers, 1)
        chances = np.full(len(are_strangers), 1 / len(are_strangers))
        draws = np.random.default_rng(seed).multinomial(len(are_strangers), chances, _ROUNDS)
        self._draws = draws.astype(np.float32)

    @classmethod
    def unknown(cls, plain: Vectors) -> "StrangerPairs":
        """Mark all pairs as strangers except those whose plain photos `(n, d)` are very similar."""
        usable = plain.any(axis=1)
        cosines, both = plain @ plain.T, np.outer(usable, usable)
        mean = float(cosines[np.triu(both, 1)].mean()) if both.sum() > len(plain) else 0.0
        limit = mean + SAME_PERSON * (1 - mean)
        return cls(np.less(cosines, limit) & both)

    @classmethod
    def labelled(cls, people: NDArray[np.int64], usable: Mask) -> "StrangerPairs":
        """Mark the pairs of usable photos whose labels `(n,)` differ."""
        return cls(np.not_equal.outer(people, people) & np.outer(usable, usable))

    def rates(
        self,
        vectors: Vectors,
        cohort: Cohort,
        points: Sequence[OperatingPoint],
        member: Mask | None = None,
    ) -> tuple[int, list[Rate]]:
        """Return the number of pairs, and the FMR at each point with its 95 % interval.

        `member` `(n,)` marks the photos to use. The interval comes from a bootstrap over photos,
        since nearly every photo is of another person.
        """
        places = np.arange(len(vectors)) if member is None else np.flatnonzero(member)
        are_strangers, draws = self._are_strangers[np.ix_(places, places)], self._draws[:, places]
        pairs = int(are_strangers.sum())
        if not pairs:
            return 0, []
        own, means = vectors[places], cohort.means(vectors[places])
        scores = own @ own.T - (means[:, None] + means) / 2
        totals = _count_in_draws(are_strangers, draws)
        rates = []
        for point in points:
            matched = are_strangers & (scores >= point.threshold)
            count = int(matched.sum())
            if not count:
                photos = int(are_strangers.any(axis=0).sum() + 1)
                rates.append(Rate(0.0, 0.0, min(1.0, 3 / photos)))
                continue
            low, high = np.quantile(_count_in_draws(matched, draws) / totals, [0.025, 0.975])
            rates.append(Rate(count / pairs, float(low), float(high)))
        return pairs, rates


def _count_in_draws(chosen: Mask, draws: Vectors) -> NDArray[np.float64]:
    """Count the chosen pairs `(n, n)` in every draw of photos `(rounds, n)`, at least 1."""
    products = (draws @ chosen.astype(np.float32)) * draws
    return np.asarray(np.maximum(products.sum(axis=1, dtype=np.float64), 1))


def group_rates_of(
    photos: GroupedPhotos,
    vectors: Vectors,
    cohort: Cohort,
    points: Sequence[OperatingPoint],
    data: str,
) -> tuple[GroupRates, ...]:
    """Measure how often strangers within a group match; small groups are left out."""
    strangers = StrangerPairs.unknown(vectors)
    usable = np.asarray(vectors.any(axis=1))
    rows = []
    for name, member in photos.groups():
        images = int(member.sum())
        if images < FEWEST_PHOTOS:
            continue
        pairs, rates = strangers.rates(vectors, cohort, points, member & usable)
        failed = float(np.mean(~usable[member]))
        rows += [
            GroupRates(name, point.name, images, failed, 0, pairs, rate, None, data)
            for point, rate in zip(points, rates, strict=False)
        ]
    return tuple(rows)


def condition_rates_of(
    captures: Captures,
    people: NDArray[np.int64] | None,
    cohort: Cohort,
    points: Sequence[OperatingPoint],
    data: str,
) -> tuple[ConditionRates, ...]:
    """Measure the FMR under each condition and, if `people` `(n,)` are known, the match rates.

    Only photos that have a vector under every condition are used.
    """
    usable = captures.usable
    plain = captures.plain[usable]
    owners = None if people is None else people[usable]
    all_usable = np.ones(len(plain), bool)
    strangers = (
        StrangerPairs.unknown(plain)
        if owners is None
        else StrangerPairs.labelled(owners, all_usable)
    )
    rows: list[ConditionRates] = []
    kinds: dict[CaptureKind, Vectors] = {"none": plain}
    kinds |= {name: vectors[usable] for name, vectors in captures.degraded.items()}
    for name, vectors in kinds.items():
        pairs, rates = strangers.rates(vectors, cohort, points)
        both = None if owners is None else _genuine(vectors, vectors, owners, cohort)
        one = None if owners is None else _genuine(vectors, plain, owners, cohort)
        rows += [
            ConditionRates(
                name,
                point.name,
                pairs,
                rate,
                _share(both, point.threshold),
                _share(one, point.threshold),
                data,
                data if both is not None and len(both) else "",
            )
            for point, rate in zip(points, rates, strict=False)
        ]
    return tuple(rows)


def _genuine(
    probes: Vectors, references: Vectors, people: NDArray[np.int64], cohort: Cohort
) -> NDArray[np.float32]:
    """Return the scores `(pairs,)` of each photo as probe with every other photo of its person.

    `probes` and `references` `(n, d)` are vectors of the same photos.
    """
    probe_means, reference_means = cohort.means(probes), cohort.means(references)
    order = np.argsort(people, kind="stable")
    scores = [np.empty(0, np.float32)]
    for own in np.split(order, np.flatnonzero(np.diff(people[order])) + 1):
        means = (probe_means[own, None] + reference_means[own]) / 2
        square = probes[own] @ references[own].T - means
        scores.append(square[~np.eye(len(own), dtype=bool)].astype(np.float32))
    return np.concatenate(scores)


def _share(scores: NDArray[np.float32] | None, threshold: float) -> float | None:
    return None if scores is None or not len(scores) else float(np.mean(scores >= threshold))


def fill_match_rates(
    rows: Sequence[ConditionRates], others: Sequence[ConditionRates]
) -> tuple[ConditionRates, ...]:
    """Fill in missing match rates from other rows, measured at the same thresholds.

    If `rows` has no row of a point, all other rows of that point are added. Rows of one point
    always come from the same photos, so that they can be compared with each other.
    """
    known = {(each.condition, each.point): each for each in others if each.match_rate is not None}
    points = {row.point for row in rows}
    filled = (_with_match_rates(row, known.get((row.condition, row.point))) for row in rows)
    return (*filled, *(other for other in others if other.point not in points))


def _with_match_rates(row: ConditionRates, known: ConditionRates | None) -> ConditionRates:
    if known is None or row.match_rate is not None:
        return row
    return replace(
        row,
        match_rate=known.match_rate,
        match_rate_one=known.match_rate_one,
        # Older bundles name the photos of both rates in one sentence.
        match_data=known.match_data or known.data,
    )


def choose_rows(
    new: Sequence[ConditionRates], old: Sequence[ConditionRates]
) -> tuple[ConditionRates, ...]:
    """Choose either the new or the old rows of one point.

    The new rows replace the old ones if they have all their conditions and at least as many
    impostor pairs. Match rates that the chosen rows lack come from the others.
    """
    covers = {row.condition for row in new} >= {row.condition for row in old}
    if covers and _plain_pairs(new) >= _plain_pairs(old):
        return fill_match_rates(new, old)
    return fill_match_rates(old, new)


def _plain_pairs(rows: Sequence[ConditionRates]) -> int:
    return max((row.impostor_pairs for row in rows if row.condition == "none"), default=0)
