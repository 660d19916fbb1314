"""The report of invented vectors, as JSON and as a page."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.cohort import NO_COHORT
from models.embedded import Embedded
from models.page import percent, render
from models.protocols import LabelledSet
from models.report import Report, det_curve, make_report
from tests.images import encode, picture

PEOPLE = 60


def invent(folder: Path) -> tuple[LabelledSet, Embedded]:
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
    return labelled, Embedded(vectors, vectors, {images[0]: "no_face"})


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
    # Of 7,140 pairs within a group 180 are genuine; 116 strangers miss the photo without a face.
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
