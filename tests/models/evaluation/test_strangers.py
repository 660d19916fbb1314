"""Measure rates of strangers, by group and by condition, and count some by hand."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.cohort import NO_COHORT, Cohort
from models.datasets.crops import cut
from models.datasets.tables import UNREADABLE
from models.decision import ConditionRates, OperatingPoint, Rate
from models.errors import LikenessError
from models.evaluation.conditions import Captures
from models.evaluation.strangers import (
    GroupedPhotos,
    StrangerPairs,
    StrangerSet,
    _genuine,
    condition_rates_of,
    fill_match_rates,
    read_grouped,
)
from models.photo.detectors import DetectorSource
from models.photo.face import Framing

RATE = Rate(0.1, 0.1, 0.1)


def point(threshold: float, name: str = "fmr_1e-2") -> OperatingPoint:
    return OperatingPoint(name, threshold, RATE, RATE)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def crowd(count: int, pull: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Return unit vectors `(n, 16)` that are pulled towards a common direction."""
    vectors = np.random.default_rng(seed).normal(size=(count, 16))
    vectors[:, 0] += pull
    return unit(vectors)


def test_the_rate_is_the_share_of_pairs_that_match() -> None:
    vectors = crowd(40)
    pairs, (rate,) = StrangerPairs.unknown(vectors).rates(vectors, NO_COHORT, [point(0.3)])
    upper = (vectors @ vectors.T)[np.triu_indices(40, 1)]
    kept = upper[upper < 0.85]
    assert pairs == len(kept)
    assert rate.value == pytest.approx(np.mean(kept >= 0.3))
    assert rate.low < rate.value < rate.high


def test_two_photos_of_one_person_are_no_strangers() -> None:
    vectors = np.concatenate([crowd(20), crowd(1)])
    pairs, (rate,) = StrangerPairs.unknown(vectors).rates(vectors, NO_COHORT, [point(0.9)])
    assert (pairs, rate.value) == (21 * 20 // 2 - 1, 0)


def test_no_match_leaves_what_the_photos_cannot_rule_out() -> None:
    vectors = crowd(30)
    _, (rate,) = StrangerPairs.unknown(vectors).rates(vectors, NO_COHORT, [point(2.0)])
    assert rate.value == rate.low == 0
    assert rate.high == pytest.approx(0.1)


def test_groups_are_compared_within_themselves() -> None:
    alike, others = crowd(110, pull=8.0), crowd(120, seed=1)
    vectors = np.concatenate([alike, others])
    photos = GroupedPhotos(
        Path(), [str(at) for at in range(230)], {"kind": ["alike"] * 110 + ["other"] * 120}
    )
    captures = Captures(vectors, {}, {"none": vectors})
    rows = StrangerSet(photos, captures, "invented").group_rates(NO_COHORT, [point(0.6)])
    fmr = {row.group: row.fmr.value for row in rows if row.fmr is not None}
    assert set(fmr) == {"kind alike", "kind other"}
    assert fmr["kind alike"] > 0.5 > 0.1 > fmr["kind other"]


def test_groups_of_few_photos_are_left_out() -> None:
    vectors = crowd(50)
    photos = GroupedPhotos(Path(), [""] * 50, {"kind": ["few"] * 50})
    stranger_set = StrangerSet(photos, Captures(vectors, {}, {"none": vectors}), "invented")
    assert stranger_set.group_rates(NO_COHORT, [point(0.6)]) == ()
    assert stranger_set.small_groups() == {"kind few": 50}


def test_conditions_are_compared_among_strangers_and_for_one_person() -> None:
    people = np.repeat(np.arange(20), 3)
    noise = np.random.default_rng(2).normal(size=(60, 16))
    plain = unit(crowd(20)[people] + 0.1 * noise)
    blurred = unit(plain + np.eye(16)[0] * 3)
    captures = Captures(plain, {"blurred": blurred}, {})
    rows = condition_rates_of(captures, people, NO_COHORT, [point(0.7)], "invented")
    none, under = rows
    assert (none.condition, under.condition) == ("none", "blurred")
    assert (none.data, none.match_data) == ("invented", "invented")
    assert none.fmr.value < 0.1 < 0.9 < under.fmr.value
    assert none.match_rate == none.match_rate_one
    assert none.match_rate is not None
    assert none.match_rate > 0.95
    assert under.match_rate == 1.0
    assert under.match_rate_one is not None
    assert under.match_rate_one < 1.0


def test_strangers_say_nothing_of_match_rates() -> None:
    rows = condition_rates_of(
        Captures(crowd(20), {}, {}), None, NO_COHORT, [point(0.7)], "strangers"
    )
    assert [(row.match_rate, row.data, row.match_data) for row in rows] == [(None, "strangers", "")]


def test_scores_of_one_person_are_those_of_every_other_photo_of_theirs() -> None:
    people = np.array([1, 0, 1, 0, 1, 2])
    probes, references, cohort = crowd(6), crowd(6, seed=1), Cohort(crowd(12, seed=2), 3)
    means = (cohort.means(probes)[:, None] + cohort.means(references)) / 2
    expected = [
        (probes @ references.T - means)[a, b]
        for a in range(6)
        for b in range(6)
        if a != b and people[a] == people[b]
    ]
    scores = _genuine(probes, references, people, cohort)
    np.testing.assert_allclose(np.sort(scores), np.sort(expected), atol=1e-6)


def test_many_photos_of_two_people_fit_memory() -> None:
    vectors, people = unit(np.random.default_rng(0).normal(size=(1000, 512))), np.arange(1000) % 2
    tracemalloc.start()
    _genuine(vectors, vectors, people, NO_COHORT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50_000_000


def test_strangers_replace_rates_of_strangers_and_keep_those_of_one_person() -> None:
    old = ConditionRates("blurred", "fmr_1e-2", 10, RATE, 0.9, 0.8, "known people", "known people")
    elsewhere = ConditionRates("dark", "fmr_1e-3", 10, RATE, 0.7, 0.6, "known people")
    new = ConditionRates("blurred", "fmr_1e-2", 1000, Rate(0.2, 0.1, 0.3), data="strangers")
    both, kept = fill_match_rates([new], [old, elsewhere])
    assert (both.fmr, both.impostor_pairs, both.match_rate, both.match_rate_one) == (
        new.fmr,
        1000,
        0.9,
        0.8,
    )
    assert kept == elsewhere


def test_what_the_rates_were_measured_on_stays_true_however_often_they_are_merged() -> None:
    row = ConditionRates("dark", "fmr_1e-2", 10, RATE, 0.9, 0.8, "known people", "known people")
    for data in ("strangers", "others"):
        (row,) = fill_match_rates([ConditionRates("dark", "fmr_1e-2", 20, RATE, data=data)], [row])
    assert (row.data, row.match_data) == ("others", "known people")


def write_photos(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_csv_gives_a_group_for_each_value_of_each_column(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / "groups.csv").write_text("image,age,sex\na.jpg,0-12,f\nb.jpg,13-19,\n")
    photos = read_grouped(tmp_path, tmp_path / "groups.csv")
    members = {name: member.tolist() for name, member in photos.groups()}
    assert members == {
        "age 0-12": [True, False],
        "age 13-19": [False, True],
        "sex f": [True, False],
    }


def test_of_too_many_photos_some_are_drawn(tmp_path: Path) -> None:
    write_photos(tmp_path, [f"{at}.jpg" for at in range(50)])
    rows = "".join(f"{at}.jpg,x\n" for at in range(50))
    (tmp_path / "groups.csv").write_text(f"image,kind\n{rows}")
    assert len(read_grouped(tmp_path, tmp_path / "groups.csv", most=10).images) == 10


@pytest.mark.parametrize("text", ["picture,age\na,b\nc,d\n", "image\na\nb\n", "image,age\n", ""])
def test_a_csv_without_photos_or_groups_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(LikenessError, match=r"image|row"):
        read_grouped(tmp_path, tmp_path / "groups.csv")


def test_a_csv_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="cannot be read"):
        read_grouped(tmp_path, tmp_path / "groups.csv")


@pytest.mark.parametrize("name", ["gone.jpg", "", "x" * 5000])
def test_a_photo_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write_photos(tmp_path, ["a.jpg"])
    (tmp_path / "groups.csv").write_text(f"image,kind\na.jpg,x\n{name},x\n")
    with pytest.raises(LikenessError, match="row 3"):
        read_grouped(tmp_path, tmp_path / "groups.csv")


def test_a_photo_that_goes_missing_while_others_are_cut_is_rejected(tmp_path: Path) -> None:
    gone = tmp_path / "gone.jpg"
    crops = cut([gone], tmp_path, DetectorSource("yunet"), Framing(112, 0.0), workers=1)
    assert crops.rejected == {"gone.jpg": UNREADABLE}
