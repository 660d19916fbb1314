"""The scales from 0 to 1 mean the same with every bundle and detector, as the docs say."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, Calibration, read_manifest
from models.decision import Logistic, OperatingPoint, rule_at
from models.photo import DetectorName
from models.photo.detectors import DlibDetector, YuNetDetector
from service.compat.scales import face_probability, likeness

PAGE = Path(__file__).parents[3] / "deploy" / "migrate.md"
POINTS = read_manifest(BUILTIN_FOLDER / "sface").calibration
assert POINTS is not None
MEASURED: list[tuple[tuple[OperatingPoint, ...], Logistic | None]] = [
    (POINTS.operating_points, POINTS.probability),
    (POINTS.operating_points, None),
    ((), None),
]


@pytest.mark.parametrize(("points", "probability"), MEASURED)
def test_likeness_rises_with_the_cosine_within_0_and_1(
    points: tuple[OperatingPoint, ...], probability: Logistic | None
) -> None:
    found = [likeness(cosine, points, probability) for cosine in np.linspace(-1, 1, 201)]
    assert found == sorted(found)
    assert (found[0] < 0.01, found[-1] > 0.99) == (True, True)
    assert all(0 <= value <= 1 for value in found)


def test_without_a_probability_one_half_is_the_threshold() -> None:
    points = MEASURED[0][0]
    threshold = rule_at(points).threshold
    assert likeness(threshold, points, None) == 0.5
    assert likeness(0.0, (), None) == 0.5


def test_the_page_gives_the_likeness_at_each_operating_point() -> None:
    rows = []
    for name in BUILTIN_NAMES:
        calibration = read_manifest(BUILTIN_FOLDER / name).calibration
        assert isinstance(calibration, Calibration)
        for point in calibration.operating_points:
            value = likeness(point.threshold, (), calibration.probability)
            rows.append(f"| `{name}` | `{point.name}` | {point.threshold:.3f} | {value:.3f} |")
    assert re.findall(r"^\| `\w+` \| `fmr_.*$", PAGE.read_text(), re.MULTILINE) == rows


@pytest.mark.parametrize(
    ("detector", "confident"),
    [("dlib", DlibDetector.confident), ("yunet", YuNetDetector.confident)],
)
def test_face_beyond_doubt_has_a_probability_of_four_fifths(
    detector: DetectorName, confident: float
) -> None:
    assert face_probability(confident, detector) == pytest.approx(0.8)
    around = [face_probability(confident + step, detector) for step in (-0.2, -0.1, 0, 0.1, 0.2)]
    assert all(lower < higher for lower, higher in pairwise(around))


def test_crop_that_was_not_looked_for_is_a_face_for_sure() -> None:
    assert face_probability(1.0, "none") == 1.0
