from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from models.decision import OperatingPoint, Rate, Template
from models.photo.crop import crop_face
from models.photo.detectors import DetectorSource
from models.photo.face import Framing
from models.photo.quality import HARMFUL, Quality, issues, measure
from service.errors import Inconsistent, LowQuality
from service.recognition.hygiene import New, Standard, Verdict, alarm_point, judge, strangers

GOOD = Quality(100, 12, 130, 40, 0, 0.02, 1.5, ())
BLURRED = Quality(100, 3, 130, 40, 0, 0.02, 1.5, ())
DIM = Quality(100, 3, 30, 10, 0, 0.02, 1.5, ())
FLOOR = 0.9
REFUSE, WARN, OFF = (Standard(gate, FLOOR) for gate in ("refuse", "warn", "off"))


def at(*degrees: float, mean: float = 0.0) -> list[Template]:
    """Return templates in a plane; 25 degrees apart are a cosine of 0.906, 26 of 0.899."""
    turns = np.deg2rad(degrees)
    vectors = np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32)
    return [Template(vector, "f", mean) for vector in vectors]


def point(name: str, threshold: float, fmr: float) -> OperatingPoint:
    return OperatingPoint(name, threshold, Rate(fmr, fmr, fmr), Rate(0.1, 0.1, 0.1))


POINTS = [point("strict", 0.95, 1e-5), point("lax", 0.90, 1e-3), point("middle", 0.93, 1e-4)]


def refusal(verdict: Verdict) -> type[Exception] | None:
    return None if verdict.refused is None else type(verdict.refused)


def one(quality: Quality, standard: Standard, *, held: bool = False) -> Verdict:
    (verdict,) = judge([New(at(0)[0], quality, held)], at(), standard)
    return verdict


def test_good_photo_is_taken_without_a_word() -> None:
    assert one(GOOD, REFUSE) == Verdict()


def test_poor_photo_is_refused_with_reason_and_advice() -> None:
    error = one(BLURRED, REFUSE).refused
    assert isinstance(error, LowQuality)
    assert ("blurred" in error.sentence, error.advice) == (
        True,
        "Hold still and focus on the face.",
    )


def test_photo_poor_in_two_ways_gets_both_advices() -> None:
    error = one(Quality(100, 1, 10, 3, 0, 0.02, 1.5, ()), REFUSE).refused
    assert error is not None
    assert "dark, flat" in error.sentence
    assert str(error.advice).count(".") == 2


@pytest.mark.parametrize(
    "standard", [WARN, Standard("refuse", FLOOR, accept_quality=True)], ids=["setting", "request"]
)
def test_poor_photo_can_be_accepted_with_a_warning(standard: Standard) -> None:
    verdict = one(BLURRED, standard)
    assert (verdict.refused, [doubt.code for doubt in verdict.warnings]) == (None, ["low_quality"])


def test_poor_photo_is_like_any_other_where_the_gate_is_off() -> None:
    assert one(BLURRED, OFF) == Verdict()


def test_poor_photo_that_is_held_already_is_beyond_doubt() -> None:
    assert one(BLURRED, REFUSE, held=True) == Verdict()


def test_dim_light_is_not_taken_for_blur() -> None:
    assert one(DIM, REFUSE) == Verdict()


def test_first_photo_of_a_subject_is_the_reference() -> None:
    verdicts = judge([New(at(a)[0], GOOD) for a in (0, 90, 10)], at(), REFUSE)
    assert [refusal(verdict) for verdict in verdicts] == [None, Inconsistent, None]


def test_poor_photo_that_is_refused_is_no_reference() -> None:
    verdicts = judge(
        [New(at(0)[0], BLURRED), New(at(90)[0], GOOD), New(at(95)[0], GOOD)], at(), REFUSE
    )
    assert [refusal(verdict) for verdict in verdicts] == [LowQuality, None, None]


def test_templates_that_are_held_decide_whom_a_subject_shows() -> None:
    verdicts = judge([New(at(0)[0], GOOD), New(at(90)[0], GOOD)], at(85, 95), REFUSE)
    assert [refusal(verdict) for verdict in verdicts] == [Inconsistent, None]


def test_resembling_one_template_of_several_is_enough() -> None:
    assert strangers(at(0), at(90, 5), FLOOR) == set()


@pytest.mark.parametrize(("degrees", "apart"), [(25, set()), (26, {0})])
def test_inconclusive_is_not_inconsistent(degrees: float, apart: set[int]) -> None:
    assert strangers(at(degrees), at(0), FLOOR) == apart


@pytest.mark.parametrize("order", [(0, 20, 40, 90), (0, 40, 20, 90), (0, 90, 40, 20)])
def test_order_of_photos_after_the_first_does_not_matter(order: tuple[int, ...]) -> None:
    apart = strangers(at(*order), at(), FLOOR)
    assert {order[place] for place in apart} == {90}


def test_repeated_request_is_judged_as_the_first_time() -> None:
    photos = at(0, 40, 20, 90)
    first = strangers(photos, at(), FLOOR)
    held = [photo for place, photo in enumerate(photos) if place not in first]
    assert strangers(photos, held, FLOOR) == first


def test_inconsistent_photo_can_be_accepted_with_a_warning() -> None:
    accepting = Standard("refuse", FLOOR, accept_inconsistent=True)
    (verdict,) = judge([New(at(90)[0], GOOD)], at(0), accepting)
    assert (verdict.refused, [doubt.code for doubt in verdict.warnings]) == (None, ["inconsistent"])


def test_accepting_one_fault_does_not_accept_the_other() -> None:
    photo = [New(at(90)[0], BLURRED)]
    for standard, expected in (
        (Standard("refuse", FLOOR, accept_quality=True), Inconsistent),
        (Standard("refuse", FLOOR, accept_inconsistent=True), LowQuality),
    ):
        assert refusal(judge(photo, at(0), standard)[0]) is expected


def test_faces_that_resemble_everybody_are_not_taken_for_one_person() -> None:
    alike = at(0, 10, mean=0.1)
    assert strangers(alike[1:], at(0), FLOOR) == set()
    assert strangers(alike[1:], alike[:1], FLOOR) == {0}


def test_occluded_face_is_refused_with_advice() -> None:
    masked = replace(at(0)[0], conditions=frozenset({"masked"}), quality=0.7)
    (verdict,) = judge([New(masked, GOOD)], at(), REFUSE)
    assert isinstance(verdict.refused, LowQuality)
    assert "masked" in verdict.refused.sentence
    assert verdict.refused.advice is not None
    assert "mask" in verdict.refused.advice


def test_bundle_without_operating_points_finds_nobody_inconsistent() -> None:
    (verdict,) = judge([New(at(90)[0], GOOD)], at(0), Standard("refuse", None))
    assert verdict == Verdict()


@pytest.mark.parametrize(
    ("gallery", "name"),
    [(0, "lax"), (10, "lax"), (11, "middle"), (100, "middle"), (1000, "strict"), (10**6, "strict")],
)
def test_larger_gallery_asks_for_a_stricter_point(gallery: int, name: str) -> None:
    chosen = alarm_point(POINTS, gallery)
    assert chosen is not None
    assert chosen.name == name


def test_without_points_there_is_no_alarm() -> None:
    assert alarm_point([], 10) is None


@pytest.mark.faces
def test_ordinary_web_photos_pass_the_gate(faces: Path) -> None:
    detector, framing = DetectorSource("yunet").open(), Framing(112, 0.0, "arcface")
    refused = 0
    with ZipFile(faces / "lfw_view1_devtest.zip") as archive:
        for name in [f"{number:04}.jpg" for number in range(0, 1500, 15)]:
            portrait = crop_face(archive.read(name), detector, "largest", framing)
            refused += bool(issues(measure(portrait.face, portrait.crop), HARMFUL))
    assert refused <= 2
