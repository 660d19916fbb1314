import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.photo.detectors import YuNetDetector
from models.photo.face import Box, DetectedFace, Face, Framing, Pixels, align, find_face
from models.photo.quality import HARMFUL, Quality, QualityLimits, issues, measure

FRAMING = Framing(112, 0.0, "arcface")


@pytest.fixture
def found(yunet: YuNetDetector, grace: Pixels) -> DetectedFace:
    return find_face(grace, yunet)


def quality(
    found: DetectedFace, detector: YuNetDetector, limits: QualityLimits | None = None
) -> Quality:
    return measure(found, align(found, detector, FRAMING), limits)


def codes(found: DetectedFace, detector: YuNetDetector) -> set[str]:
    return {issue.code for issue in quality(found, detector).issues}


def repainted(found: DetectedFace, pixels: NDArray[np.generic]) -> DetectedFace:
    """Return the same face in pixels that were changed in place."""
    changed = np.clip(pixels, 0, 255).astype(np.uint8)
    return DetectedFace(changed, found.face, found.face_count, found.turns)


def moved(found: DetectedFace, matrix: NDArray[np.float64]) -> DetectedFace:
    """Move the image and the landmarks together."""
    height, width = found.pixels.shape[:2]
    pixels = np.asarray(cv2.warpAffine(found.pixels, matrix, (width, height)), np.uint8)
    landmarks = (found.face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return DetectedFace(pixels, Face(found.face.box, landmarks, found.face.score), 1, 0)


@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_a_good_portrait_has_no_issues(
    yunet: YuNetDetector, photo: str, request: pytest.FixtureRequest
) -> None:
    assert codes(find_face(request.getfixturevalue(photo), yunet), yunet) == set()


def test_a_dark_photo_is_called_dark(found: DetectedFace, yunet: YuNetDetector) -> None:
    assert "dark" in codes(repainted(found, found.pixels * 0.2), yunet)


def test_a_burnt_out_photo_is_called_overexposed(found: DetectedFace, yunet: YuNetDetector) -> None:
    assert "overexposed" in codes(repainted(found, found.pixels * 3.0 + 60), yunet)


def test_a_hazy_photo_is_called_flat(found: DetectedFace, yunet: YuNetDetector) -> None:
    assert "flat" in codes(repainted(found, found.pixels * 0.2 + 120), yunet)


def test_a_blurred_photo_is_called_blurred(found: DetectedFace, yunet: YuNetDetector) -> None:
    assert codes(repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 8)), yunet) == {"blurred"}


def test_a_tiny_face_is_called_small(yunet: YuNetDetector, grace: Pixels) -> None:
    tiny = np.asarray(cv2.resize(grace, None, fx=0.2, fy=0.2), np.uint8)
    assert codes(find_face(tiny, yunet), yunet) == {"small_face"}


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_tilted_head_is_called_tilted(
    found: DetectedFace, yunet: YuNetDetector, degrees: float
) -> None:
    around = found.box.left + found.box.width / 2, found.box.top + found.box.height / 2
    turned = moved(found, cv2.getRotationMatrix2D(around, degrees, 1).astype(np.float64))
    assert codes(turned, yunet) == {"tilted"}


def test_a_face_in_profile_is_called_turned_away(found: DetectedFace, yunet: YuNetDetector) -> None:
    squeezed = moved(found, np.array([[0.35, 0, 150], [0, 1.0, 0]]))
    assert codes(squeezed, yunet) == {"turned_away"}


def test_every_issue_comes_with_advice(found: DetectedFace, yunet: YuNetDetector) -> None:
    issues = quality(repainted(found, found.pixels * 0.05), yunet).issues
    assert all(issue.advice.endswith(".") for issue in issues)


def test_blurring_lowers_sharpness(found: DetectedFace, yunet: YuNetDetector) -> None:
    blurred = repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 3))
    assert quality(blurred, yunet).sharpness < quality(found, yunet).sharpness / 2


def test_brightness_is_measured_in_grey_values(found: DetectedFace, yunet: YuNetDetector) -> None:
    grey = repainted(found, np.full_like(found.pixels, 77))
    measured = quality(grey, yunet)
    assert (measured.brightness, measured.contrast, measured.sharpness) == (77, 0, 0)


def test_the_size_is_the_shorter_side_of_the_box(found: DetectedFace, yunet: YuNetDetector) -> None:
    oblong = Face(Box(171, 149, 90, 200), found.face.landmarks, 1.0)
    assert quality(DetectedFace(found.pixels, oblong, 1, 0), yunet).face_px == 90


def test_limits_decide_what_is_an_issue(found: DetectedFace, yunet: YuNetDetector) -> None:
    strict = quality(found, yunet, QualityLimits(face_px=1000))
    assert [issue.code for issue in strict.issues] == ["small_face"]


@pytest.mark.parametrize("limit", ["face_px", "sharpness", "dark", "contrast"])
def test_what_harms_is_advised_against_before(limit: str) -> None:
    assert getattr(HARMFUL, limit) <= getattr(QualityLimits(), limit)


def test_dim_light_harms_less_than_blur(found: DetectedFace, yunet: YuNetDetector) -> None:
    dim = quality(repainted(found, found.pixels * 0.25), yunet)
    blurred = repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 8))
    harmed = [issues(each, HARMFUL) for each in (dim, quality(blurred, yunet))]
    assert [[issue.code for issue in each] for each in harmed] == [[], ["blurred"]]


def test_a_small_crop_is_as_sharp_as_it_is(found: DetectedFace, yunet: YuNetDetector) -> None:
    small = measure(found, align(found, yunet, Framing(32, 0.0, "arcface")))
    assert issues(small, HARMFUL) == ()
