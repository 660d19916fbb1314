import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle, Calibration
from models.cohort import NO_COHORT
from models.datasets.features import embed
from models.datasets.labelled import LabelledSet, read_labelled
from models.decision import (
    ConditionName,
    ConditionRates,
    FusionRates,
    GroupRates,
    OperatingPoint,
    Rate,
    rule_at,
)
from models.embedder import Embedder
from models.errors import LikenessError
from models.evaluation.comparisons import Comparisons, all_pairs
from models.evaluation.conditions import embed_captures
from models.evaluation.measure import (
    MeasuredRates,
    add_rates,
    compare_photos,
    fold_accuracy,
    keep_unsupported_points,
    measure_kept_points,
)
from models.evaluation.rates import fmr_at, fnmr_at
from models.evaluation.strangers import StrangerPairs, read_grouped

Vectors = NDArray[np.float32]
RATE = Rate(0.1, 0.05, 0.2)


def test_people_are_numbered_from_zero(six_photos: LabelledSet) -> None:
    assert six_photos.people.tolist() == [1, 1, 1, 0, 0, 0]


def test_pairs_are_places_in_the_list_of_images(six_photos: LabelledSet) -> None:
    assert six_photos.pairs[2:] == [(3, 5, True), (0, 3, False), (1, 4, False)]


def test_photos_are_embedded_in_their_order(six_vectors: Vectors) -> None:
    same = (six_vectors @ six_vectors.T)[:5, :5] > 0.9
    assert same.tolist() == [[True] * 3 + [False] * 2] * 3 + [[False] * 3 + [True] * 2] * 2


def test_a_photo_without_a_face_is_a_row_of_zeros(six_vectors: Vectors) -> None:
    assert np.flatnonzero(~six_vectors.any(axis=1)).tolist() == [5]


def test_what_was_measured_on_is_counted(six_photos_calibration: Calibration) -> None:
    counts = (
        six_photos_calibration.identities,
        six_photos_calibration.images,
        six_photos_calibration.genuine_pairs,
        six_photos_calibration.impostor_pairs,
    )
    assert counts == (2, 6, 6, 6)


def test_photos_without_a_face_are_failures_to_enrol(six_photos_calibration: Calibration) -> None:
    assert six_photos_calibration.failure_to_enrol == pytest.approx(1 / 6)


def test_a_pair_that_could_not_be_enrolled_is_an_error(six_photos_calibration: Calibration) -> None:
    assert six_photos_calibration.accuracy == 4 / 5


def test_six_photos_support_no_operating_point(six_photos_calibration: Calibration) -> None:
    assert six_photos_calibration.operating_points == ()


# Folds of vectors on a circle


def at_angles(genuine: list[float], impostor: list[float]) -> tuple[LabelledSet, Vectors]:
    """Return vectors at angles, with photo 0 at angle 0, and its pairs with all others."""
    angles = np.array([0, *genuine, *impostor])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    people = np.array([0] * (1 + len(genuine)) + list(range(1, 1 + len(impostor))))
    pairs = [(0, at, bool(people[at] == 0)) for at in range(1, len(people))]
    images = [str(at) for at in range(len(people))]
    return LabelledSet(Path(), images, people, pairs), vectors


def test_every_fold_is_judged_at_the_threshold_of_the_others() -> None:
    labelled, vectors = at_angles([0.1, 0.5, 0.2], [1.0, 1.1, 0.3])
    folds = fold_accuracy(replace(labelled, folds=[0, 1, 2, 0, 1, 2]), vectors)
    assert folds is not None
    # The last fold's impostor passes the threshold that the others set at 0.5 rad, and the
    # second fold's genuine pair fails the one at 0.2.
    assert folds.folds == (0.5 + 0.5, 0.5, 0.5)
    assert folds.given


def test_folds_of_one_kind_cannot_be_judged() -> None:
    labelled, vectors = at_angles([0.1, 0.2], [1.0, 1.1])
    assert fold_accuracy(replace(labelled, folds=[0, 0, 1, 1]), vectors) is None


def test_only_listed_pairs_are_compared_where_labels_are_incomplete() -> None:
    labelled, vectors = at_angles([0.1, 0.2], [1.0, 1.1])
    assert len(compare_photos(replace(labelled, complete=False), vectors).scores) == 4
    assert len(compare_photos(labelled, vectors).scores) == 10


def test_pairs_of_one_kind_measure_nothing() -> None:
    labelled, vectors = at_angles([0.1, 0.2], [])
    with pytest.raises(LikenessError, match="of one person and of two"):
        compare_photos(labelled, vectors)


def calibration(*points: OperatingPoint, data: str = "invented") -> Calibration:
    return Calibration(
        data=data,
        identities=2,
        images=4,
        genuine_pairs=2,
        impostor_pairs=4,
        failure_to_enrol=0,
        accuracy=1,
        eer=0,
        operating_points=points,
    )


def point(name: str, threshold: float, extrapolated: bool = False) -> OperatingPoint:
    return OperatingPoint(name, threshold, RATE, RATE, extrapolated=extrapolated)


# Three comparisons of one person, three of strangers.
SCORES = np.array([0.9, 0.5, 0.42, 0.44, 0.2, 0.1], np.float32)
FEW = Comparisons(SCORES, np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2]))


def test_few_photos_replace_no_point_that_was_well_measured() -> None:
    old = calibration(point("fmr_1e-2", 0.3), point("fmr_1e-3", 0.4), point("fmr_1e-4", 0.5))
    new = calibration(point("fmr_1e-2", 0.1, extrapolated=True))
    kept = keep_unsupported_points(new, old, FEW).operating_points
    assert [(each.name, each.threshold, each.kept) for each in kept] == [
        ("fmr_1e-2", 0.3, True),
        ("fmr_1e-3", 0.4, True),
        ("fmr_1e-4", 0.5, True),
    ]


def test_points_that_the_photos_support_are_set_anew() -> None:
    old = calibration(point("fmr_1e-2", 0.3), point("fmr_1e-3", 0.4, extrapolated=True))
    new = calibration(point("fmr_1e-2", 0.2), point("fmr_1e-3", 0.35, extrapolated=True))
    assert keep_unsupported_points(new, old, FEW).operating_points == new.operating_points


def test_a_kept_point_is_never_laxer_than_a_laxer_one_set_anew() -> None:
    old = calibration(point("fmr_1e-2", 0.3), point("fmr_1e-3", 0.4))
    new = calibration(point("fmr_1e-2", 0.45))
    fresh, kept = keep_unsupported_points(new, old, FEW).operating_points
    assert (fresh.threshold, fresh.kept, kept.threshold, kept.kept) == (0.45, False, 0.45, True)


def test_a_point_that_is_raised_refuses_what_is_measured_there() -> None:
    old = calibration(point("fmr_1e-2", 0.3), point("fmr_1e-3", 0.4))
    new = calibration(point("fmr_1e-2", 0.45))
    _, raised = keep_unsupported_points(new, old, FEW).operating_points
    assert raised.fnmr.value == pytest.approx(1 / 3)
    assert raised.fmr == RATE


def test_a_kept_point_names_the_photos_it_was_measured_on_however_often_it_is_kept() -> None:
    old = calibration(point("fmr_1e-2", 0.3), data="many photos")
    once = keep_unsupported_points(calibration(data="a few"), old, FEW)
    twice = keep_unsupported_points(calibration(data="others"), once, FEW)
    assert [each.data for each in twice.operating_points] == ["many photos"]
    assert twice.data == "others"


def test_photos_too_few_to_set_a_point_move_no_centre_of_strangers() -> None:
    old = calibration(point("fmr_1e-2", 0.3)).model_copy(update={"strangers_mean": 0.1})
    few = calibration().model_copy(update={"strangers_mean": 0.7})
    assert keep_unsupported_points(few, old, FEW).strangers_mean == 0.1
    many = few.model_copy(update={"operating_points": (point("fmr_1e-2", 0.2),)})
    assert keep_unsupported_points(many, old, FEW).strangers_mean == 0.7


def test_points_measured_again_keep_their_threshold_and_rest_on_what_was_seen() -> None:
    kept = replace(point("fmr_1e-2", 0.43), held_out_fmr=0.01, data="many photos")
    (again,) = measure_kept_points([kept], FEW)
    assert (again.threshold, again.kept, again.data) == (0.43, True, "")
    assert again.fmr.value == pytest.approx(1 / 3)
    assert again.fnmr.value == pytest.approx(1 / 3)
    assert again.extrapolated
    assert again.held_out_fmr is None


# Rates at the points: a kept point keeps those that rest on more comparisons


def of_group(name: str, at: str, pairs: int) -> GroupRates:
    return GroupRates(name, at, 10, 0.0, 0, pairs, RATE)


def under(
    name: ConditionName, at: str, pairs: int, match: float | None = None, data: str = ""
) -> tuple[ConditionRates, ...]:
    """Return rows of photos as they are, and under a condition."""
    match_data = "" if match is None else data
    plain = ConditionRates("none", at, pairs, RATE, match, match, data, match_data)
    return plain, replace(plain, condition=name)


def fused(at: str, genuine: int) -> FusionRates:
    return FusionRates(1, 2, at, 0.1, 0.1, genuine, 100)


def held() -> Calibration:
    """Return a bundle's calibration with one row of each kind at both of its points."""
    names = ("fmr_1e-2", "fmr_1e-3")
    return calibration(point("fmr_1e-2", 0.3), point("fmr_1e-3", 0.4)).model_copy(
        update={
            "groups": tuple(of_group("north", at, 1000) for at in names),
            "conditions": tuple(row for at in names for row in under("dark", at, 1000, 0.9, "old")),
            "fusion": tuple(fused(at, 1000) for at in names),
        }
    )


def pairs_of(measured: Calibration, at: str) -> tuple[set[int], set[int], set[int]]:
    return (
        {row.impostor_pairs for row in measured.groups if row.point == at},
        {row.impostor_pairs for row in measured.conditions if row.point == at},
        {row.genuine for row in measured.fusion if row.point == at},
    )


@pytest.mark.parametrize(("pairs", "left"), [(20, 1000), (5000, 5000)])
def test_only_what_rests_on_as_much_replaces_what_was_measured_at_a_kept_point(
    pairs: int, left: int
) -> None:
    at = "fmr_1e-2"
    new = MeasuredRates(
        (of_group("north", at, pairs),), under("dark", at, pairs), (fused(at, pairs),)
    )
    measured = add_rates(keep_unsupported_points(calibration(), held(), FEW), new)
    assert pairs_of(measured, at) == ({left}, {left}, {left})
    assert pairs_of(measured, "fmr_1e-3") == ({1000}, {1000}, {1000})


def test_what_was_measured_at_a_replaced_threshold_is_dropped() -> None:
    new = calibration(point("fmr_1e-2", 0.2))
    measured = add_rates(keep_unsupported_points(new, held(), FEW), MeasuredRates())
    assert pairs_of(measured, "fmr_1e-2") == (set(), set(), set())
    assert pairs_of(measured, "fmr_1e-3") == ({1000}, {1000}, {1000})


def test_what_was_measured_below_a_raised_threshold_is_dropped() -> None:
    measured = keep_unsupported_points(calibration(point("fmr_1e-2", 0.45)), held(), FEW)
    assert pairs_of(measured, "fmr_1e-2") == pairs_of(measured, "fmr_1e-3") == (set(), set(), set())


def test_more_strangers_under_fewer_conditions_replace_nothing() -> None:
    measured = add_rates(held(), MeasuredRates(conditions=under("blurred", "fmr_1e-2", 5000)))
    assert set(measured.conditions) == set(held().conditions)


def test_more_strangers_take_over_the_match_rates_of_known_people() -> None:
    new = MeasuredRates(conditions=under("dark", "fmr_1e-2", 5000, data="strangers"))
    rows = [row for row in add_rates(held(), new).conditions if row.point == "fmr_1e-2"]
    assert {(row.impostor_pairs, row.data) for row in rows} == {(5000, "strangers")}
    assert {(row.match_rate, row.match_data) for row in rows} == {(0.9, "old")}


def test_new_groups_are_added_and_rows_of_no_point_left_out() -> None:
    new = MeasuredRates(tuple(of_group("south", at, 5) for at in ("fmr_1e-1", "fmr_1e-2")))
    measured = add_rates(held(), new)
    assert [(row.group, row.point) for row in measured.groups] == [
        ("north", "fmr_1e-2"),
        ("north", "fmr_1e-3"),
        ("south", "fmr_1e-2"),
    ]


def test_a_bundle_without_points_takes_whatever_is_measured() -> None:
    new = calibration(point("fmr_1e-2", 0.2, extrapolated=True))
    assert keep_unsupported_points(new, None, FEW) == new


@pytest.mark.faces
def test_children_and_blurred_strangers_match_no_more_often_than_claimed(
    faces: Path, sface_embedder: Embedder, tmp_path: Path
) -> None:
    with zipfile.ZipFile(faces / "groups.zip") as archive:
        archive.extractall(tmp_path)
    table = next(tmp_path.rglob("groups.csv"))
    photos = read_grouped(table.parent, table)
    children = [photos.columns["age"][at] == "0-12" for at in range(len(photos.images))]
    others = [not child for child in children]
    files = [
        photos.folder / image
        for kind in (children, others)
        for image, chosen in zip(photos.images, kind, strict=True)
        if chosen
    ]
    count = sum(children)
    files = [*files[:150], *files[count : count + 150]]
    captures = embed_captures(files, sface_embedder, ("blurred",))
    bundle = sface_embedder.bundle
    (usual,) = [each for each in bundle.operating_points if each.name == "fmr_1e-3"]
    strangers = StrangerPairs.unknown(captures.plain)
    young = np.arange(len(files)) < 150
    for vectors, member in ((captures.plain, young), (captures.degraded["blurred"], ~young)):
        _, (rate,) = strangers.rates(vectors, bundle.cohort, [usual], member)
        assert rate.value <= 0.003
    # By the cosine alone, at the threshold of the same FMR, more than one in ten children match.
    cosine = replace(usual, threshold=0.364)
    _, (rate,) = strangers.rates(captures.plain, NO_COHORT, [cosine], young)
    assert rate.value > 0.1


@pytest.fixture(scope="module")
def web_photos(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    """Return the photos of 60 genuine pairs of the labelled web photos."""
    folder = tmp_path_factory.mktemp("lfw")
    with zipfile.ZipFile(faces / "lfw_view1_devtest.zip") as archive:
        archive.extractall(folder)
    every = read_labelled(next(folder.rglob("people.csv")).parent)
    genuine = [(a, b) for a, b, same in every.pairs if same][::8][:60]
    kept = sorted({place for pair in genuine for place in pair})
    return replace(
        every, images=[every.images[k] for k in kept], people=every.people[kept], pairs=[]
    )


@pytest.mark.faces
def test_people_in_web_photos_are_told_apart_at_the_default_point(
    web_photos: LabelledSet, sface_bundle: Bundle
) -> None:
    vectors = embed(web_photos, sface_bundle).vectors
    enrolled = np.linalg.norm(vectors, axis=1) > 0
    every = all_pairs(vectors, web_photos.people, enrolled, sface_bundle.cohort)
    threshold = rule_at(sface_bundle.operating_points).threshold
    assert len(every.impostor) > 6000
    assert fnmr_at(every.genuine, threshold) <= 0.15
    assert fmr_at(every.impostor, threshold) <= 0.02
