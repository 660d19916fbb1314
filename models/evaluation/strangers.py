"""False match rates among strangers: of groups of people, and of photos under a condition.

Who is on a photo need not be known. Where it is not, nearly all pairs are strangers, and those
whose plain photos are far more alike than others are taken for one person and left out: from
SAME_PERSON of the way between the mean cosine of all pairs and 1 on, 0.85 with SFace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort, Vectors
from models.datasets.people import describe_no_rows, rows_with_files
from models.datasets.tables import read_table
from models.datasets.vectors import RejectedFile
from models.decision import (
    ConditionRates,
    GroupRates,
    OperatingPoint,
    Rate,
)
from models.errors import LikenessError
from models.evaluation.captures import CaptureKind, Captures

Mask = NDArray[np.bool_]

SAME_PERSON = 0.84
# A square of scores of so many photos takes a gigabyte with all that is made of it.
MOST_PHOTOS = 6000
# Of fewer photos a group's rate says little.
FEWEST_PHOTOS = 100
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class GroupedPhotos:
    """Hold photos `images` below a folder, and of each column what it says of each photo.

    `name` is that of the list. `unusable` says which rows could not be used, and why.
    """

    folder: Path
    images: list[str]
    columns: dict[str, list[str]]
    name: str = ""
    unusable: list[RejectedFile] = field(default_factory=list)

    def groups(self) -> Iterator[tuple[str, Mask]]:
        """Yield the name of each group, such as `age 0-12`, and which photos are of it."""
        for column, values in self.columns.items():
            for value in sorted(set(values) - {""}):
                yield f"{column} {value}", np.array([each == value for each in values])


def read_grouped(
    folder: Path, path: Path, most: int = MOST_PHOTOS, outside: bool = False
) -> GroupedPhotos:
    """Read a CSV `image` and columns of groups; of too many photos, draw `most` of them.

    Raises LikenessError if fewer than two photos can be used.
    """
    table = read_table(path, ("image",))
    groups = [name for name in table.columns if name != "image"]
    there, unusable = rows_with_files(table, "image", folder, outside)
    if not groups:
        raise LikenessError(f"{path} needs columns of groups beside `image`.")
    if len(there) < 2:
        raise LikenessError(describe_no_rows(table, unusable))
    if len(there) > most:
        drawn = np.random.default_rng(0).choice(len(there), most, replace=False)
        there = [there[at] for at in np.sort(drawn)]
    columns = {name: [row[name] for row in there] for name in groups}
    name = f"{path.parent.name}/{path.name}"
    return GroupedPhotos(folder, [row["image"] for row in there], columns, name, unusable)


@dataclass(frozen=True, slots=True)
class StrangerSet:
    """Hold photos without identities, embedded plain and degraded, and what they are."""

    photos: GroupedPhotos
    captures: Captures
    data: str

    def group_rates(
        self, cohort: Cohort, points: Sequence[OperatingPoint]
    ) -> tuple[GroupRates, ...]:
        """Measure how often strangers of each group match."""
        return group_rates_of(self.photos, self.captures.plain, cohort, points, self.data)

    def small_groups(self) -> dict[str, int]:
        """Return the groups that are left out, with how many photos they have."""
        counted = {name: int(member.sum()) for name, member in self.photos.groups()}
        return {name: count for name, count in counted.items() if count < FEWEST_PHOTOS}

    def condition_rates(
        self, cohort: Cohort, points: Sequence[OperatingPoint]
    ) -> tuple[ConditionRates, ...]:
        """Measure how often strangers match under each condition."""
        return condition_rates_of(self.captures, None, cohort, points, self.data)


class StrangerPairs:
    """Compare all pairs of n photos of different people; `apart` `(n, n)` tells which they are."""

    def __init__(self, apart: Mask, seed: int = 0) -> None:
        self._apart = np.triu(apart, 1)
        chances = np.full(len(apart), 1 / len(apart))
        draws = np.random.default_rng(seed).multinomial(len(apart), chances, _ROUNDS)
        self._draws = draws.astype(np.float32)

    @classmethod
    def unknown(cls, plain: Vectors) -> "StrangerPairs":
        """Take all for strangers but those whose plain photos, `(n, d)`, are alike."""
        usable = plain.any(axis=1)
        cosines, both = plain @ plain.T, np.outer(usable, usable)
        mean = float(cosines[np.triu(both, 1)].mean()) if both.sum() > len(plain) else 0.0
        limit = mean + SAME_PERSON * (1 - mean)
        return cls(np.less(cosines, limit) & both)

    @classmethod
    def labelled(cls, people: NDArray[np.int64], usable: Mask) -> "StrangerPairs":
        """Take for strangers whom the labels `(n,)` call so."""
        return cls(np.not_equal.outer(people, people) & np.outer(usable, usable))

    def rates(
        self,
        vectors: Vectors,
        cohort: Cohort,
        points: Sequence[OperatingPoint],
        member: Mask | None = None,
    ) -> tuple[int, list[Rate]]:
        """Count the pairs of strangers, and the FMR at each point with its 95 % interval.

        `member` `(n,)` tells which photos take part. The interval is from a bootstrap over
        photos, each of which is one person's or nearly so.
        """
        places = np.arange(len(vectors)) if member is None else np.flatnonzero(member)
        apart, draws = self._apart[np.ix_(places, places)], self._draws[:, places]
        pairs = int(apart.sum())
        if not pairs:
            return 0, []
        own, means = vectors[places], cohort.means(vectors[places])
        scores = own @ own.T - (means[:, None] + means) / 2
        weighed = _weigh(apart, draws)
        rates = []
        for point in points:
            matched = apart & (scores >= point.threshold)
            count = int(matched.sum())
            if not count:
                photos = int(apart.any(axis=0).sum() + 1)
                rates.append(Rate(0.0, 0.0, min(1.0, 3 / photos)))
                continue
            low, high = np.quantile(_weigh(matched, draws) / weighed, [0.025, 0.975])
            rates.append(Rate(count / pairs, float(low), float(high)))
        return pairs, rates


def _weigh(chosen: Mask, draws: Vectors) -> NDArray[np.float64]:
    """Count the chosen pairs `(n, n)` in every draw of photos `(rounds, n)`."""
    products = (draws @ chosen.astype(np.float32)) * draws
    return np.asarray(np.maximum(products.sum(axis=1, dtype=np.float64), 1))


def group_rates_of(
    photos: GroupedPhotos,
    vectors: Vectors,
    cohort: Cohort,
    points: Sequence[OperatingPoint],
    data: str,
) -> tuple[GroupRates, ...]:
    """Measure how often strangers of one group match; groups of few photos are left out."""
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
    """Measure what each condition does to strangers, and where `people` `(n,)` are known, to one.

    Only photos that have a vector under every condition take part.
    """
    usable = captures.usable
    plain = captures.plain[usable]
    who = None if people is None else people[usable]
    everybody = np.ones(len(plain), bool)
    strangers = (
        StrangerPairs.unknown(plain) if who is None else StrangerPairs.labelled(who, everybody)
    )
    rows: list[ConditionRates] = []
    kinds: dict[CaptureKind, Vectors] = {"none": plain}
    kinds |= {name: vectors[usable] for name, vectors in captures.degraded.items()}
    for name, vectors in kinds.items():
        pairs, rates = strangers.rates(vectors, cohort, points)
        both = None if who is None else _genuine(vectors, vectors, who, cohort)
        one = None if who is None else _genuine(vectors, plain, who, cohort)
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
    """Return the scores `(pairs,)` of each photo as probe and each other of its person.

    `probes` and `references` `(n, d)` are of the same photos. They are compared person by person.
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
    """Add to rows without match rates those that others have, measured at the same thresholds.

    At points of which there is no row, the others are taken as they are: rows of one point are
    all of the same photos, so that they can be compared with each other.
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
        # Older bundles note both in one sentence.
        match_data=known.match_data or known.data,
    )


def choose_rows(
    new: Sequence[ConditionRates], old: Sequence[ConditionRates]
) -> tuple[ConditionRates, ...]:
    """Choose between two measurements at one threshold, each of them whole.

    The new one replaces the old one if it has all its conditions and compares as many strangers
    at least. Match rates that the chosen one lacks come from the other.
    """
    covers = {row.condition for row in new} >= {row.condition for row in old}
    if covers and _plain_pairs(new) >= _plain_pairs(old):
        return fill_match_rates(new, old)
    return fill_match_rates(old, new)


def _plain_pairs(rows: Sequence[ConditionRates]) -> int:
    return max((row.impostor_pairs for row in rows if row.condition == "none"), default=0)
