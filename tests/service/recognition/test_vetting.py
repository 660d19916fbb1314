from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from models.decision import Template
from models.photo.crop import crop_face
from models.photo.detectors import DetectorSource
from models.photo.face import Framing
from models.photo.quality import HARMFUL, Quality, issues, measure
from service.errors import Inconsistent, LowQuality
from service.recognition.vetting import (
    NewPhoto,
    Verdict,
    VettingStandard,
    judge,
)

GOOD = Quality(100, 12, 130, 40, 0, 0.02, 1.5, ())
BLURRED = Quality(100, 3, 130, 40, 0, 0.02, 1.5, ())
DIM = Quality(100, 3, 30, 10, 0, 0.02, 1.5, ())
FLOOR = 0.9
REFUSE, WARN, OFF = (VettingStandard(gate, FLOOR) for gate in ("refuse", "warn", "off"))


def at(*degrees: float, mean: float = 0.0) -> list[Template]:
    """Return templates in a plane; 25 degrees apart are a cosine of 0.906, 26 of 0.899."""
    turns = np.deg2rad(degrees)
    vectors = np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32)
    return [Template(vector, "f", mean) for vector in vectors]


def refusal(verdict: Verdict) -> type[Exception] | None:
    return None if verdict.refusal is None else type(verdict.refusal)


def one(quality: Quality, standard: VettingStandard, *, is_enrolled: bool = False) -> Verdict:
    (verdict,) = judge([NewPhoto(at(0)[0], quality, is_enrolled)], at(), standard)
    return verdict


def test_good_photo_is_accepted_without_a_warning() -> None:
    assert one(GOOD, REFUSE) == Verdict()


def test_poor_photo_is_refused_with_reason_and_advice() -> None:
    error = one(BLURRED, REFUSE).refusal
    assert isinstance(error, LowQuality)
    assert ("blurred" in error.sentence, error.advice) == (
        True,
        "Hold still and focus on the face.",
    )


def test_photo_with_two_issues_gets_advice_about_both() -> None:
    error = one(Quality(100, 1, 10, 3, 0, 0.02, 1.5, ()), REFUSE).refusal
    assert error is not None
    assert "dark, flat" in error.sentence
    assert str(error.advice).count(".") == 2


@pytest.mark.parametrize(
    "standard",
    [WARN, VettingStandard("refuse", FLOOR, accept_quality=True)],
    ids=["setting", "request"],
)
def test_poor_photo_can_be_accepted_with_a_warning(standard: VettingStandard) -> None:
    verdict = one(BLURRED, standard)
    assert (verdict.refusal, [doubt.code for doubt in verdict.warnings]) == (None, ["low_quality"])


def test_poor_photo_is_accepted_if_the_gate_is_off() -> None:
    assert one(BLURRED, OFF) == Verdict()


def test_poor_photo_that_is_enrolled_already_is_accepted() -> None:
    assert one(BLURRED, REFUSE, is_enrolled=True) == Verdict()


def test_dim_light_is_not_mistaken_for_blur() -> None:
    assert one(DIM, REFUSE) == Verdict()


def test_first_photo_of_a_subject_is_the_reference() -> None:
    verdicts = judge([NewPhoto(at(a)[0], GOOD) for a in (0, 90, 10)], at(), REFUSE)
    assert [refusal(verdict) for verdict in verdicts] == [None, Inconsistent, None]


def test_refused_photo_is_not_a_reference() -> None:
    verdicts = judge(
        [NewPhoto(at(0)[0], BLURRED), NewPhoto(at(90)[0], GOOD), NewPhoto(at(95)[0], GOOD)],
        at(),
        REFUSE,
    )
    assert [refusal(verdict) for verdict in verdicts] == [LowQuality, None, None]


def test_stored_templates_decide_which_photos_agree() -> None:
    verdicts = judge([NewPhoto(at(0)[0], GOOD), NewPhoto(at(90)[0], GOOD)], at(85, 95), REFUSE)
    assert [refusal(verdict) for verdict in verdicts] == [Inconsistent, None]


def test_inconsistent_photo_can_be_accepted_with_a_warning() -> None:
    accepting = VettingStandard("refuse", FLOOR, accept_inconsistent=True)
    (verdict,) = judge([NewPhoto(at(90)[0], GOOD)], at(0), accepting)
    assert (verdict.refusal, [doubt.code for doubt in verdict.warnings]) == (None, ["inconsistent"])


def test_accepting_one_fault_does_not_accept_the_other() -> None:
    photo = [NewPhoto(at(90)[0], BLURRED)]
    for standard, expected in (
        (VettingStandard("refuse", FLOOR, accept_quality=True), Inconsistent),
        (VettingStandard("refuse", FLOOR, accept_inconsistent=True), LowQuality),
    ):
        assert refusal(judge(photo, at(0), standard)[0]) is expected


def test_occluded_face_is_refused_with_advice() -> None:
    masked = replace(at(0)[0], conditions=frozenset({"masked"}), quality=0.7)
    (verdict,) = judge([NewPhoto(masked, GOOD)], at(), REFUSE)
    assert isinstance(verdict.refusal, LowQuality)
    assert "masked" in verdict.refusal.sentence
    assert verdict.refusal.advice is not None
    assert "mask" in verdict.refusal.advice


def test_bundle_without_operating_points_finds_no_photo_inconsistent() -> None:
    (verdict,) = judge([NewPhoto(at(90)[0], GOOD)], at(0), VettingStandard("refuse", None))
    assert verdict == Verdict()


@pytest.mark.faces
def test_ordinary_web_photos_pass_the_gate(faces: Path) -> None:
    detector, framing = DetectorSource("yunet").open(), Framing(112, 0.0, "arcface")
    refused = 0
    with ZipFile(faces / "lfw_view1_devtest.zip") as archive:
        for name in [f"{number:04}.jpg" for number in range(0, 1500, 15)]:
            portrait = crop_face(archive.read(name), detector, "largest", framing)
            refused += bool(issues(measure(portrait.face, portrait.crop), HARMFUL))
    assert refused <= 2
