import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import DlibDetector
from models.face import Box, Face, Found, Pixels, align, find
from models.quality import HARMFUL, Limits, Quality, issues, measure


@pytest.fixture
def found(dlib_detector: DlibDetector, grace: Pixels) -> Found:
    return find(grace, dlib_detector)


def quality(found: Found, detector: DlibDetector, limits: Limits | None = None) -> Quality:
    return measure(found, align(found, detector.template, 150, 0.25), limits)


def codes(found: Found, detector: DlibDetector) -> set[str]:
    return {issue.code for issue in quality(found, detector).issues}


def repainted(found: Found, pixels: NDArray[np.generic]) -> Found:
    """Return the same face in pixels that were changed in place."""
    changed = np.clip(pixels, 0, 255).astype(np.uint8)
    return Found(changed, found.face, found.faces, found.turns)


def moved(found: Found, matrix: NDArray[np.float64]) -> Found:
    """Move the image and the landmarks together."""
    height, width = found.pixels.shape[:2]
    pixels = np.asarray(cv2.warpAffine(found.pixels, matrix, (width, height)), np.uint8)
    landmarks = (found.face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return Found(pixels, Face(found.face.box, landmarks, found.face.score), 1, 0)


@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_a_good_portrait_has_no_issues(
    dlib_detector: DlibDetector, photo: str, request: pytest.FixtureRequest
) -> None:
    assert codes(find(request.getfixturevalue(photo), dlib_detector), dlib_detector) == set()


def test_a_dark_photo_is_called_dark(found: Found, dlib_detector: DlibDetector) -> None:
    assert "dark" in codes(repainted(found, found.pixels * 0.2), dlib_detector)


def test_a_burnt_out_photo_is_called_overexposed(found: Found, dlib_detector: DlibDetector) -> None:
    assert "overexposed" in codes(repainted(found, found.pixels * 3.0 + 60), dlib_detector)


def test_a_hazy_photo_is_called_flat(found: Found, dlib_detector: DlibDetector) -> None:
    assert "flat" in codes(repainted(found, found.pixels * 0.2 + 120), dlib_detector)


def test_a_blurred_photo_is_called_blurred(found: Found, dlib_detector: DlibDetector) -> None:
    assert codes(repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 8)), dlib_detector) == {
        "blurred"
    }


def test_a_tiny_face_is_called_small(dlib_detector: DlibDetector, grace: Pixels) -> None:
    tiny = np.asarray(cv2.resize(grace, None, fx=0.2, fy=0.2), np.uint8)
    assert codes(find(tiny, dlib_detector), dlib_detector) == {"small_face"}


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_tilted_head_is_called_tilted(
    found: Found, dlib_detector: DlibDetector, degrees: float
) -> None:
    around = found.box.left + found.box.width / 2, found.box.top + found.box.height / 2
    turned = moved(found, cv2.getRotationMatrix2D(around, degrees, 1).astype(np.float64))
    assert codes(turned, dlib_detector) == {"tilted"}


def test_a_face_in_profile_is_called_turned_away(found: Found, dlib_detector: DlibDetector) -> None:
    squeezed = moved(found, np.array([[0.35, 0, 150], [0, 1.0, 0]]))
    assert codes(squeezed, dlib_detector) == {"turned_away"}


def test_every_issue_comes_with_advice(found: Found, dlib_detector: DlibDetector) -> None:
    issues = quality(repainted(found, found.pixels * 0.05), dlib_detector).issues
    assert all(issue.advice.endswith(".") for issue in issues)


def test_blurring_lowers_sharpness(found: Found, dlib_detector: DlibDetector) -> None:
    blurred = repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 3))
    assert quality(blurred, dlib_detector).sharpness < quality(found, dlib_detector).sharpness / 2


def test_brightness_is_measured_in_grey_values(found: Found, dlib_detector: DlibDetector) -> None:
    grey = repainted(found, np.full_like(found.pixels, 77))
    measured = quality(grey, dlib_detector)
    assert (measured.brightness, measured.contrast, measured.sharpness) == (77, 0, 0)


def test_the_size_is_the_shorter_side_of_the_box(found: Found, dlib_detector: DlibDetector) -> None:
    oblong = Face(Box(171, 149, 90, 200), found.face.landmarks, 1.0)
    assert quality(Found(found.pixels, oblong, 1, 0), dlib_detector).face_px == 90


def test_limits_decide_what_is_an_issue(found: Found, dlib_detector: DlibDetector) -> None:
    strict = quality(found, dlib_detector, Limits(face_px=1000))
    assert [issue.code for issue in strict.issues] == ["small_face"]


@pytest.mark.parametrize("limit", ["face_px", "sharpness", "dark", "contrast"])
def test_what_harms_is_advised_against_before(limit: str) -> None:
    assert getattr(HARMFUL, limit) <= getattr(Limits(), limit)


def test_dim_light_harms_less_than_blur(found: Found, dlib_detector: DlibDetector) -> None:
    dim = quality(repainted(found, found.pixels * 0.25), dlib_detector)
    blurred = repainted(found, cv2.GaussianBlur(found.pixels, (0, 0), 8))
    harmed = [issues(each, HARMFUL) for each in (dim, quality(blurred, dlib_detector))]
    assert [[issue.code for issue in each] for each in harmed] == [[], ["blurred"]]


def test_a_small_crop_is_as_sharp_as_it_is(found: Found, dlib_detector: DlibDetector) -> None:
    small = measure(found, align(found, dlib_detector.template, 32, 0.25))
    assert issues(small, HARMFUL) == ()
