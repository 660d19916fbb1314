"""Make reports of invented vectors, as JSON and as a page."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, Calibration
from models.cohort import NO_COHORT
from models.datasets.features import VectorSet
from models.datasets.labelled import LabelledSet
from models.decision import ConditionRates, GroupRates, OperatingPoint, Rate
from models.errors import LikenessError
from models.evaluation.conditions import Captures
from models.evaluation.page import percent, render
from models.evaluation.report import Report, det_curve, make_report, measure_strangers
from models.evaluation.strangers import GroupedPhotos, StrangerSet
from tests.images import encode, picture

PEOPLE = 60


def invent(folder: Path) -> tuple[LabelledSet, VectorSet]:
    """Invent four photos each of 60 people; the first photo has no face."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(PEOPLE), 4)
    vectors = random.normal(0, 1, (PEOPLE, 16))[people] + random.normal(0, 0.6, (len(people), 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[0] = 0
    images = [f"<{at}>.png" for at in range(len(people))]
    pairs = [(4 * p + 1, 4 * p + 2, True) for p in range(PEOPLE)]
    pairs += [(4 * p + 3, (4 * p + 7) % len(people), False) for p in range(PEOPLE)]
    groups = ["north" if person % 2 else "south" for person in people]
    labelled = LabelledSet(folder, images, people, pairs, groups=groups)
    return labelled, VectorSet(vectors, vectors, {images[0]: "no_face"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def bare(sface_bundle: Bundle) -> Bundle:
    """Return a bundle that was never measured, without cohort and quality head."""
    manifest = sface_bundle.manifest.model_copy(update={"calibration": None})
    return replace(sface_bundle, manifest=manifest, cohort=NO_COHORT, quality=None)


@pytest.fixture(scope="module")
def report(folder: Path, bare: Bundle) -> Report:
    return make_report(*invent(folder), bare, "invented")


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report)


def test_the_json_reads_back_as_the_report(report: Report) -> None:
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_points_that_the_data_does_not_support_are_empty_rows(report: Report) -> None:
    # 28,381 impostor comparisons support 1.06e-4 by the rule of three.
    assert [row.point is not None for row in report.table] == [True] * 3 + [False] * 3


def test_points_on_few_false_matches_are_marked(report: Report) -> None:
    marks = [row.point.extrapolated for row in report.table if row.point]
    assert marks == [False, False, True]


def test_det_curve_falls_from_corner_to_corner(report: Report) -> None:
    fmr, fnmr = np.array(report.det.fmr), np.array(report.det.fnmr)
    assert (np.diff(fmr) <= 0).all()
    assert (np.diff(fnmr) >= 0).all()
    assert fmr[0] == 1


def test_det_curve_agrees_with_counting_by_hand() -> None:
    curve = det_curve(np.array([0.4, 0.9], np.float32), np.array([0.1, 0.5], np.float32))
    points = set(zip(curve.fmr, curve.fnmr, strict=True))
    assert points == {(1, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)}


def test_histograms_count_every_comparison_once(report: Report) -> None:
    assert sum(report.histogram.genuine) == pytest.approx(1)
    assert sum(report.histogram.impostor) == pytest.approx(1)


def test_worst_errors_come_worst_first(report: Report) -> None:
    likest = [error.similarity for error in report.worst if error.kind == "false_match"]
    unlikest = [error.similarity for error in report.worst if error.kind == "false_non_match"]
    assert likest == sorted(likest, reverse=True)
    assert unlikest == sorted(unlikest)


def test_a_photo_that_was_not_enrolled_is_no_worst_error(report: Report) -> None:
    assert "<0>.png" not in {name for error in report.worst for name in (error.a, error.b)}


def test_a_photo_that_was_not_enrolled_is_listed_with_its_reason(page: str) -> None:
    assert "<td>&lt;0&gt;.png</td><td>no_face</td>" in page


def test_groups_are_compared_within_themselves(report: Report) -> None:
    rows = [row for row in report.groups if row.point == "fmr_1e-1"]
    assert [(row.group, row.genuine_pairs) for row in rows] == [("north", 180), ("south", 180)]
    # Of 7,140 pairs within a group 180 are genuine; 116 impostor pairs lack a face on a photo.
    assert [row.impostor_pairs for row in rows] == [6960, 6960 - 116]


def test_a_group_of_one_person_has_no_fmr(folder: Path, bare: Bundle) -> None:
    labelled, embedded = invent(folder)
    groups = ["alone" if person == 5 else "" for person in labelled.people]
    report = make_report(replace(labelled, groups=groups), embedded, bare, "invented")
    assert {row.fmr for row in report.groups} == {None}
    assert {row.fnmr is None for row in report.groups} == {False}


def test_folds_drawn_at_random_say_so(report: Report) -> None:
    assert report.fold_accuracy is not None
    assert not report.fold_accuracy.given
    assert len(report.fold_accuracy.folds) == 10


def test_the_page_asks_nothing_of_the_network(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{5})', page)
    assert set(sources) <= {"data:", "file:"}
    assert "<script" not in page


def test_names_of_files_are_escaped(page: str) -> None:
    assert not re.search(r"<\d+>", page)


def test_a_hostile_name_stays_a_name(report: Report) -> None:
    name = "</title><script>x</script>\"'{{ 7 * 7 }}"
    hostile = report.model_copy(update={"bundle": name})
    page = render(hostile)
    assert "<script" not in page
    assert unescape(page).count(name) == 2


def test_photos_are_referred_to_where_they_lie(page: str, folder: Path) -> None:
    assert f'src="{folder.as_uri()}/' in page
    assert "data:image/jpeg" not in page


def test_photos_are_embedded_when_asked(report: Report, folder: Path) -> None:
    (folder / report.worst[0].a).write_bytes(encode(picture(), "PNG"))
    assert render(report, embed_photos=True).count("data:image/jpeg") >= 1


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.1, "10.00%"), (0.001, "0.10%"), (0.0000123, "0.0012%"), (0, "0.00%")]
)
def test_small_rates_keep_two_digits(rate: float, shown: str) -> None:
    assert percent(rate) == shown


# Bundles with an earlier calibration


RATE = Rate(0.25, 0.2, 0.3)
THRESHOLDS = {"fmr_1e-2": 0.61, "fmr_1e-3": 0.7, "fmr_1e-4": 0.8, "fmr_1e-5": 0.9}


def measured_before(bare: Bundle) -> Bundle:
    """Return the bundle with points and rates that rest on many photos."""
    points = tuple(OperatingPoint(name, at, RATE, RATE) for name, at in THRESHOLDS.items())
    calibration = Calibration(
        data="many photos",
        identities=10_000,
        images=20_000,
        genuine_pairs=10_000,
        impostor_pairs=10**8,
        failure_to_enrol=0,
        accuracy=1,
        eer=0,
        operating_points=points,
        groups=tuple(GroupRates("north", name, 9, 0, 0, 10**8, RATE) for name in THRESHOLDS),
        conditions=tuple(
            ConditionRates("none", name, 10**8, RATE, 0.9, 0.9, "many photos", "many photos")
            for name in THRESHOLDS
        ),
    )
    manifest = bare.manifest.model_copy(update={"calibration": calibration})
    return replace(bare, manifest=manifest)


@pytest.fixture(scope="module")
def keeping(folder: Path, bare: Bundle) -> Report:
    return make_report(*invent(folder), measured_before(bare), "invented", keep_points=True)


def test_the_bundles_own_points_are_shown_as_measured_again(
    keeping: Report, report: Report
) -> None:
    shown = keeping.calibration
    assert {point.name: point.threshold for point in shown.operating_points} == THRESHOLDS
    assert RATE not in {point.fmr for point in shown.operating_points}
    assert (shown.data, shown.images, shown.eer) == ("invented", 240, report.calibration.eer)
    assert {row.point.threshold for row in keeping.table if row.point} >= set(THRESHOLDS.values())
    assert "kept_calibration" not in keeping.model_dump()


def test_the_bundles_own_points_are_written_as_they_were(keeping: Report, bare: Bundle) -> None:
    before = measured_before(bare).manifest.calibration
    assert before is not None
    written = keeping.to_write
    assert written.operating_points == before.operating_points
    assert (written.data, written.images) == ("many photos", 20_000)
    pairs = {(row.group, row.impostor_pairs > 10**7) for row in written.groups}
    assert pairs == {("north", True), ("south", False)}
    assert {row.point for row in written.groups} == set(THRESHOLDS)


def test_a_bundle_without_points_has_none_to_keep(folder: Path, bare: Bundle) -> None:
    with pytest.raises(LikenessError, match="has no operating points"):
        make_report(*invent(folder), bare, "invented", keep_points=True)


def test_points_that_are_kept_are_marked_with_their_photos(folder: Path, bare: Bundle) -> None:
    kept = make_report(*invent(folder), measured_before(bare), "invented")
    assert [point.kept for point in kept.calibration.operating_points] == [False, True, True, True]
    assert "(kept, measured on many photos)" in render(kept)


def test_what_is_measured_at_the_lax_row_of_the_table_is_not_written(report: Report) -> None:
    assert "fmr_1e-1" in {row.point for row in report.groups}
    assert "fmr_1e-1" not in {row.point for row in report.to_write.groups}
    assert {row.data for row in report.to_write.groups} == {"invented"}


def test_few_strangers_are_shown_and_wipe_nothing(bare: Bundle) -> None:
    bundle = measured_before(bare)
    embedded = invent(Path())[1].vectors[1:100]
    photos = GroupedPhotos(Path(), [""] * 99, {"kind": ["few"] * 99})
    strangers = StrangerSet(photos, Captures(embedded, {}, {}), "a few strangers")
    shown, written = measure_strangers(bundle, strangers)
    assert written == bundle.manifest.calibration
    assert shown.groups == ()
    assert {(row.data, row.match_data) for row in shown.conditions} == {
        ("a few strangers", "many photos")
    }
