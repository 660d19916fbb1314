from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import DlibDetector
from models.errors import FaceTooSmall, NoFace, SeveralFaces
from models.face import (
    Box,
    Crop,
    Face,
    Found,
    Points,
    align,
    choose,
    find,
    find_all,
    similarity_transform,
)

Pixels = NDArray[np.uint8]

POINTS = np.array([[30, 40], [70, 42], [50, 60], [35, 80], [66, 79]], np.float32)


def apply(matrix: NDArray[np.float64], points: Points) -> NDArray[np.float64]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    turn = np.deg2rad(degrees)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


# The similarity transform


@pytest.mark.parametrize("degrees", [0, 17, -60, 90, 180])
@pytest.mark.parametrize("scale", [0.1, 1, 7])
def test_a_known_similarity_is_recovered(degrees: float, scale: float) -> None:
    known = similarity(degrees, scale, (-20, 300))
    target = apply(known, POINTS).astype(np.float32)
    np.testing.assert_allclose(similarity_transform(POINTS, target), known, atol=1e-4)


def test_a_similarity_never_mirrors() -> None:
    mirrored = POINTS * np.array([-1, 1], np.float32)
    assert np.linalg.det(similarity_transform(POINTS, mirrored)[:, :2]) > 0


def test_the_similarity_has_the_least_squares() -> None:
    noise = np.random.default_rng(0).normal(0, 5, POINTS.shape)
    target = (apply(similarity(20, 2, (5, 5)), POINTS) + noise).astype(np.float32)
    x, y = POINTS.T.astype(float)
    one, zero = np.ones(5), np.zeros(5)
    system = np.vstack([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    (a, b, right, down), *_ = np.linalg.lstsq(system, target.T.ravel(), rcond=None)
    expected = np.array([[a, -b, right], [b, a, down]])
    np.testing.assert_allclose(similarity_transform(POINTS, target), expected, atol=1e-4)


def test_landmarks_on_one_point_are_no_face() -> None:
    with pytest.raises(NoFace):
        similarity_transform(np.full((5, 2), 3, np.float32), POINTS)


# Alignment


def dotted(degrees: float, scale: float, side: int) -> tuple[Found, Points]:
    """Draw five coloured dots, a face's landmarks; return them and where they should lie."""
    template = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.5], [0.3, 0.8], [0.7, 0.8]], np.float32)
    shift = (side / 2, side / 2)
    marks = apply(similarity(degrees, scale, shift), template - 0.5).astype(np.float32)
    image = np.zeros((side, side, 3), np.uint8)
    for number, (x, y) in enumerate(marks):
        at = (round(float(x) * 16), round(float(y) * 16))
        colour = (40 * (number + 1), 255 - 40 * number, 128)
        cv2.circle(image, at, round(scale / 25 * 16), colour, -1, cv2.LINE_AA, 4)
    face = Face(Box(0, 0, side, side), marks, 1.0)
    return Found(image, face, 1, 0), template


def centre_of(crop: Pixels, number: int) -> NDArray[np.float64]:
    """Return where the dot of this number lies, as the mean of its pixels."""
    colour = np.array((40 * (number + 1), 255 - 40 * number, 128))
    rows, columns = np.nonzero(np.abs(crop.astype(int) - colour).max(axis=2) < 12)
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("degrees", [0.0, 25.0, 140.0])
def test_landmarks_come_to_lie_on_the_template(margin: float, degrees: float) -> None:
    found, template = dotted(degrees, 150, 400)
    crop = align(found, template, 200, margin).pixels
    wanted = (template + margin) / (1 + 2 * margin) * 200
    placed = np.array([centre_of(crop, number) for number in range(5)])
    np.testing.assert_allclose(placed, wanted, atol=0.7)


def test_landmarks_lie_on_the_template_when_a_huge_face_is_shrunk() -> None:
    found, template = dotted(10, 1200, 2400)
    crop = align(found, template, 100, 0.25).pixels
    placed = np.array([centre_of(crop, number) for number in range(5)])
    np.testing.assert_allclose(placed, (template + 0.25) / 1.5 * 100, atol=0.7)


def test_shrinking_a_lot_averages_pixels(dlib_detector: DlibDetector, grace: Pixels) -> None:
    found = find(grace, dlib_detector)
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2048, 3), np.uint8)
    large = Face(found.face.box, found.face.landmarks * 4, 1.0)
    crop = align(Found(noise, large, 1, 0), dlib_detector.template, 64, 0.25)
    assert crop.pixels.std() < 30  # 74 in the noise itself


def test_what_lies_outside_the_image_is_black() -> None:
    found, template = dotted(0, 300, 300)
    white = Found(np.full_like(found.pixels, 255), found.face, 1, 0)
    crop = align(white, template, 100, 0.5).pixels
    assert (int(crop[:20].max()), int(crop[30:70, 30:70].min())) == (0, 255)


def test_the_scale_is_crop_pixels_per_image_pixel() -> None:
    found, template = dotted(0, 200, 400)
    assert align(found, template, 150, 0.25).scale == pytest.approx(150 / 1.5 / 200, rel=1e-4)


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 12.0])
def test_the_roll_is_the_tilt_of_the_landmarks(degrees: float) -> None:
    found, template = dotted(degrees, 200, 400)
    assert align(found, template, 150, 0.25).roll_degrees == pytest.approx(degrees, abs=0.01)


def test_landmarks_of_another_shape_misfit() -> None:
    found, template = dotted(0, 200, 400)
    squeezed = Face(found.face.box, found.face.landmarks * np.array([0.4, 1], np.float32), 1.0)
    crop = align(Found(found.pixels, squeezed, 1, 0), template, 150, 0.25)
    assert crop.misfit > 0.1 > 1e-4 > align(found, template, 150, 0.25).misfit


def test_without_a_template_the_crop_is_the_centre_square(grace: Pixels) -> None:
    found = Found(grace, Face(Box(0, 0, 512, 600), np.zeros((5, 2), np.float32), 1.0), 1, 0)
    crop = align(found, None, 512, 0.25)
    np.testing.assert_array_equal(crop.pixels, grace[44:556])


# Which face counts


def face(side: float, score: float = 1.0) -> Face:
    return Face(Box(0, 0, side, side), POINTS, score)


def test_the_largest_confident_face_is_chosen() -> None:
    assert choose([face(20), face(90), face(200, score=-0.2)], "largest", 0.1).box.width == 90


def test_single_refuses_two_faces_of_similar_size() -> None:
    with pytest.raises(SeveralFaces, match="2 faces"):
        choose([face(100), face(60)], "single", 0.1)


def test_single_ignores_a_small_bystander() -> None:
    assert choose([face(100), face(49)], "single", 0.1).box.width == 100


def test_single_ignores_what_is_hardly_a_face() -> None:
    assert choose([face(100), face(110, score=0.0)], "single", 0.1).box.width == 100


def test_the_best_scored_face_is_chosen_when_none_is_confident() -> None:
    assert choose([face(100, -0.2), face(50, -0.1)], "single", 0.1).box.width == 50


@pytest.fixture
def couple(grace: Pixels, astronaut: Pixels) -> Pixels:
    """Show two people side by side, the one on the left somewhat nearer."""
    left = np.asarray(cv2.resize(grace, (300, 351)), np.uint8)
    return np.hstack([left[:350], astronaut[:350, :350]])


def test_single_refuses_a_photo_of_two_people(dlib_detector: DlibDetector, couple: Pixels) -> None:
    with pytest.raises(SeveralFaces):
        find(couple, dlib_detector, "single")


def test_largest_takes_the_larger_of_two_people(
    dlib_detector: DlibDetector, couple: Pixels
) -> None:
    found = find(couple, dlib_detector, "largest")
    assert (found.faces, found.box.left < 300) == (2, True)


def test_all_of_two_people_are_found_the_larger_first(
    dlib_detector: DlibDetector, couple: Pixels
) -> None:
    found = find_all(couple, dlib_detector)
    assert [each.box.left < 300 for each in found] == [True, False]
    assert {each.faces for each in found} == {2}


def test_small_faces_are_left_out_unless_there_is_no_other(
    dlib_detector: DlibDetector, couple: Pixels
) -> None:
    larger, smaller = find_all(couple, dlib_detector)
    least = (larger.box.width + smaller.box.width) / 2
    assert [each.box for each in find_all(couple, dlib_detector, least)] == [larger.box]
    with pytest.raises(FaceTooSmall):
        find_all(couple, dlib_detector, larger.box.width + 1)


def test_the_best_scored_face_is_all_there_is_when_none_is_confident() -> None:
    (found,) = find_all(corners(30, 40, 0, 0), CornerDetector())
    assert (found.turns, found.face.score) == (0, 0.3)


# Turned photos


def crop_of(pixels: Pixels, detector: DlibDetector) -> Crop:
    return align(find(pixels, detector), detector.template, 150, 0.25)


def clockwise(pixels: Pixels, quarters: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels, -quarters))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_upright_crop(
    dlib_detector: DlibDetector, astronaut: Pixels, quarters: int
) -> None:
    upright = crop_of(astronaut, dlib_detector).pixels
    turned = crop_of(clockwise(astronaut, quarters), dlib_detector).pixels
    assert np.abs(upright.astype(int) - turned).mean() < 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_number_of_turns_is_told(
    dlib_detector: DlibDetector, astronaut: Pixels, quarters: int
) -> None:
    assert find(clockwise(astronaut, quarters), dlib_detector).turns == quarters


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_box_lies_on_the_face_in_the_photo_as_it_came(
    dlib_detector: DlibDetector, grace: Pixels, quarters: int
) -> None:
    upright = cut_out(grace, find(grace, dlib_detector).box)
    turned = clockwise(grace, quarters)
    there = cut_out(turned, find(turned, dlib_detector).box)
    back = np.rot90(there, quarters)
    assert back.shape == upright.shape
    assert np.abs(back.astype(int) - upright).mean() < 12  # a pixel of rounding


def cut_out(pixels: Pixels, box: Box) -> Pixels:
    left, top, side = round(box.left), round(box.top), round(box.width)
    return pixels[top : top + side, left : left + side]


@dataclass(frozen=True)
class CornerDetector:
    """See one face, as sure as the upper left corner is bright."""

    name: str = "corner"
    template: Points | None = None
    confident: float = 0.5
    upright: float = 0.9

    def detect(self, pixels: Pixels) -> list[Face]:
        height, width = pixels.shape[:2]
        score = float(pixels[0, 0, 0]) / 100
        return [Face(Box(0, 0, width, height), POINTS, score)] if score else []


def corners(upper_left: int, upper_right: int, lower_right: int, lower_left: int) -> Pixels:
    """Give the corners in the order in which anticlockwise turns bring them up and left."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[0, 0], image[0, -1] = upper_left, upper_right
    image[-1, -1], image[-1, 0] = lower_right, lower_left
    return image


@pytest.mark.parametrize(
    ("image", "turns"),
    [
        pytest.param(corners(95, 99, 0, 0), 0, id="surely upright"),
        pytest.param(corners(20, 0, 60, 0), 2, id="a false face upright, a true one turned"),
        pytest.param(corners(60, 70, 80, 75), 2, id="the best of four"),
        pytest.param(corners(30, 40, 0, 0), 0, id="turned faces must be confident"),
        pytest.param(corners(70, 70, 70, 70), 0, id="equal scores"),
        pytest.param(corners(0, 0, 0, 60), 3, id="the last turn"),
    ],
)
def test_the_turn_with_the_best_face_is_taken(image: Pixels, turns: int) -> None:
    assert find(image, CornerDetector()).turns == turns


def test_an_image_without_a_face_is_refused(dlib_detector: DlibDetector) -> None:
    with pytest.raises(NoFace):
        find(np.full((300, 400, 3), 128, np.uint8), dlib_detector)


def test_a_face_smaller_than_wanted_is_refused_with_both_sizes(
    dlib_detector: DlibDetector, grace: Pixels
) -> None:
    with pytest.raises(FaceTooSmall, match="200 pixels wide; 201 are needed"):
        find(grace, dlib_detector, min_face_px=201)


def test_a_face_in_a_huge_image_is_found_where_it_is(
    grace: Pixels, dlib_detector: DlibDetector
) -> None:
    """Four times as large it is shrunk before anybody looks at it."""
    huge = np.asarray(cv2.resize(grace, None, fx=4, fy=4), np.uint8)
    small, large = (find(pixels, dlib_detector) for pixels in (grace, huge))
    np.testing.assert_allclose(large.face.landmarks / 4, small.face.landmarks, atol=4)
    assert large.pixels.shape == huge.shape
