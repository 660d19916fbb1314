from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import FaceTooSmall, NoFace, SeveralFaces
from models.photo import FacePolicy
from models.photo.detectors import NoDetector, YuNetDetector
from models.photo.face import (
    Box,
    Crop,
    DetectedFace,
    Face,
    Framing,
    Points,
    TemplateName,
    align,
    choose_face,
    find_face,
    find_faces,
    similarity_transform,
)

Pixels = NDArray[np.uint8]

POINTS = np.array([[30, 40], [70, 42], [50, 60], [35, 80], [66, 79]], np.float32)
DOTS = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.5], [0.3, 0.8], [0.7, 0.8]], np.float32)
FRAMING = Framing(150, 0.25)


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


@dataclass(frozen=True)
class CornerDetector:
    """Find one face, with the brightness of the upper left corner as its score."""

    name: str = "corner"
    confident: float = 0.5
    upright: float = 0.9
    turned: float = 0.55
    upside_down: float = 0.9
    lead: float = 0.1

    def template(self, name: TemplateName) -> Points:
        return DOTS

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        height, width = pixels.shape[:2]
        score = float(pixels[0, 0, 0]) / 100
        return [Face(Box(0, 0, width, height), POINTS, score)] if score else []

    def detect_small(self, pixels: Pixels) -> list[Face]:
        return []


DETECTOR = CornerDetector()


def dotted(degrees: float, scale: float, side: int) -> DetectedFace:
    """Draw five coloured dots, the landmarks of a face."""
    shift = (side / 2, side / 2)
    marks = apply(similarity(degrees, scale, shift), DOTS - 0.5).astype(np.float32)
    image = np.zeros((side, side, 3), np.uint8)
    for number, (x, y) in enumerate(marks):
        at = (round(float(x) * 16), round(float(y) * 16))
        colour = (40 * (number + 1), 255 - 40 * number, 128)
        cv2.circle(image, at, round(scale / 25 * 16), colour, -1, cv2.LINE_AA, 4)
    face = Face(Box(0, 0, side, side), marks, 1.0)
    return DetectedFace(image, face, 1, 0)


def centre_of(crop: Pixels, number: int) -> NDArray[np.float64]:
    """Return where the dot of this number lies, as the mean of its pixels."""
    colour = np.array((40 * (number + 1), 255 - 40 * number, 128))
    rows, columns = np.nonzero(np.abs(crop.astype(int) - colour).max(axis=2) < 12)
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("degrees", [0.0, 25.0, 140.0])
def test_landmarks_come_to_lie_on_the_template(margin: float, degrees: float) -> None:
    crop = align(dotted(degrees, 150, 400), DETECTOR, Framing(200, margin)).pixels
    wanted = (DOTS + margin) / (1 + 2 * margin) * 200
    placed = np.array([centre_of(crop, number) for number in range(5)])
    np.testing.assert_allclose(placed, wanted, atol=0.7)


def test_landmarks_lie_on_the_template_when_a_huge_face_is_shrunk() -> None:
    crop = align(dotted(10, 1200, 2400), DETECTOR, Framing(100, 0.25)).pixels
    placed = np.array([centre_of(crop, number) for number in range(5)])
    np.testing.assert_allclose(placed, (DOTS + 0.25) / 1.5 * 100, atol=0.7)


def test_shrinking_a_lot_averages_pixels(yunet: YuNetDetector, grace: Pixels) -> None:
    found = find_face(grace, yunet)
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2048, 3), np.uint8)
    large = Face(found.face.box, found.face.landmarks * 4, 1.0)
    crop = align(DetectedFace(noise, large, 1, 0), yunet, Framing(64, 0.25))
    assert crop.pixels.std() < 30  # 74 in the noise itself


def test_what_lies_outside_the_image_is_black() -> None:
    found = dotted(0, 300, 300)
    white = DetectedFace(np.full_like(found.pixels, 255), found.face, 1, 0)
    crop = align(white, DETECTOR, Framing(100, 0.5)).pixels
    assert (int(crop[:20].max()), int(crop[30:70, 30:70].min())) == (0, 255)


def test_the_scale_is_crop_pixels_per_image_pixel() -> None:
    crop = align(dotted(0, 200, 400), DETECTOR, FRAMING)
    assert crop.scale == pytest.approx(150 / 1.5 / 200, rel=1e-4)


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 12.0])
def test_the_roll_is_the_tilt_of_the_landmarks(degrees: float) -> None:
    crop = align(dotted(degrees, 200, 400), DETECTOR, FRAMING)
    assert crop.roll_degrees == pytest.approx(degrees, abs=0.01)


def test_landmarks_of_another_shape_misfit() -> None:
    found = dotted(0, 200, 400)
    squeezed = Face(found.face.box, found.face.landmarks * np.array([0.4, 1], np.float32), 1.0)
    crop = align(DetectedFace(found.pixels, squeezed, 1, 0), DETECTOR, FRAMING)
    assert crop.misfit > 0.1 > 1e-4 > align(found, DETECTOR, FRAMING).misfit


def test_the_misfit_does_not_depend_on_how_much_the_crop_shows(
    yunet: YuNetDetector, grace: Pixels
) -> None:
    found = find_face(grace, yunet)
    squeezed = Face(found.face.box, found.face.landmarks * np.array([0.4, 1], np.float32), 1.0)
    turned_away = DetectedFace(found.pixels, squeezed, 1, 0)
    one, other = (
        align(turned_away, yunet, framing).misfit
        for framing in (Framing(150, 0.25), Framing(112, 0.0, "arcface"))
    )
    assert one == pytest.approx(other, rel=0.25)


def test_without_a_template_the_crop_is_the_centre_square(grace: Pixels) -> None:
    found = DetectedFace(grace, Face(Box(0, 0, 512, 600), np.zeros((5, 2), np.float32), 1.0), 1, 0)
    crop = align(found, NoDetector(), Framing(512, 0.25))
    np.testing.assert_array_equal(crop.pixels, grace[44:556])


# Which face counts


MIDDLE = (0.0, 0.0)


def face(side: float, score: float = 1.0, off: float = 0.0) -> Face:
    """Return a square face this far to the right of the middle of the photo."""
    return Face(Box(off - side / 2, -side / 2, side, side), POINTS, score)


def chosen(faces: list[Face], policy: FacePolicy) -> Face:
    return choose_face(faces, policy, 0.1, MIDDLE)


def test_the_largest_confident_face_is_chosen() -> None:
    faces = [face(20), face(90), face(200, score=-0.2)]
    assert chosen(faces, "largest").box.width == 90


def test_of_faces_about_as_large_the_one_in_the_middle_is_chosen() -> None:
    assert chosen([face(100, off=80), face(71, off=-40)], "largest").box.width == 71


def test_a_face_in_the_middle_is_not_chosen_if_it_is_clearly_smaller() -> None:
    assert chosen([face(100, off=80), face(70)], "largest").box.width == 100


def test_single_refuses_two_faces_of_similar_size() -> None:
    with pytest.raises(SeveralFaces, match="2 faces"):
        chosen([face(100), face(60)], "single")


def test_single_ignores_a_small_bystander() -> None:
    assert chosen([face(100), face(49)], "single").box.width == 100


def test_single_ignores_what_is_hardly_a_face() -> None:
    assert chosen([face(100), face(110, score=0.0)], "single").box.width == 100


def test_the_best_scored_face_is_chosen_when_none_is_confident() -> None:
    assert chosen([face(100, -0.2), face(50, -0.1)], "single").box.width == 50


@pytest.fixture
def couple(grace: Pixels, astronaut: Pixels) -> Pixels:
    """Show two people side by side, the one on the left somewhat nearer."""
    left = np.asarray(cv2.resize(grace, (300, 351)), np.uint8)
    return np.hstack([left[:350], astronaut[:350, :350]])


def test_single_refuses_a_photo_of_two_people(yunet: YuNetDetector, couple: Pixels) -> None:
    with pytest.raises(SeveralFaces):
        find_face(couple, yunet, "single")


def test_largest_takes_the_larger_of_two_people(
    yunet: YuNetDetector, grace: Pixels, astronaut: Pixels
) -> None:
    behind = np.asarray(cv2.resize(astronaut, (350, 350)), np.uint8)
    # The larger face is the one farther from the middle.
    photo = np.hstack([grace[:350], behind, np.zeros_like(grace[:350])])
    found = find_face(photo, yunet, "largest")
    assert (found.face_count, found.box.left < 300) == (2, True)


def test_largest_takes_the_one_in_the_middle_of_two_people_about_as_near(
    yunet: YuNetDetector, couple: Pixels
) -> None:
    moved = np.hstack([couple, np.zeros_like(couple)])
    found = [find_face(photo, yunet, "largest").box.left < 300 for photo in (couple, moved)]
    assert found == [True, False]


def test_all_of_two_people_are_found_the_larger_first(yunet: YuNetDetector, couple: Pixels) -> None:
    found = find_faces(couple, yunet)
    assert [each.box.left < 300 for each in found] == [True, False]
    assert {each.face_count for each in found} == {2}


def test_small_faces_are_left_out_unless_there_is_no_other(
    yunet: YuNetDetector, couple: Pixels
) -> None:
    larger, smaller = find_faces(couple, yunet)
    least = (larger.box.width + smaller.box.width) / 2
    assert [each.box for each in find_faces(couple, yunet, least)] == [larger.box]
    with pytest.raises(FaceTooSmall):
        find_faces(couple, yunet, larger.box.width + 1)


def test_the_best_scored_face_is_all_there_is_when_none_is_confident() -> None:
    (found,) = find_faces(corners(30, 40, 0, 0), DETECTOR)
    assert (found.turns, found.face.score) == (0, 0.3)


# Turned photos


def crop_of(pixels: Pixels, detector: YuNetDetector) -> Crop:
    return align(find_face(pixels, detector), detector, FRAMING)


def clockwise(pixels: Pixels, quarters: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels, -quarters))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_upright_crop(
    yunet: YuNetDetector, astronaut: Pixels, quarters: int
) -> None:
    upright = crop_of(astronaut, yunet).pixels
    turned = crop_of(clockwise(astronaut, quarters), yunet).pixels
    assert np.abs(upright.astype(int) - turned).mean() < 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_number_of_turns_is_told(
    yunet: YuNetDetector, astronaut: Pixels, quarters: int
) -> None:
    assert find_face(clockwise(astronaut, quarters), yunet).turns == quarters


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_box_lies_on_the_face_in_the_photo_as_it_came(
    yunet: YuNetDetector, grace: Pixels, quarters: int
) -> None:
    upright = cut_out(grace, find_face(grace, yunet).box)
    turned = clockwise(grace, quarters)
    there = cut_out(turned, find_face(turned, yunet).box)
    back = np.rot90(there, quarters)
    assert back.shape == upright.shape
    assert np.abs(back.astype(int) - upright).mean() < 12  # a pixel of rounding


def cut_out(pixels: Pixels, box: Box) -> Pixels:
    left, top, width, height = map(round, (box.left, box.top, box.width, box.height))
    return pixels[top : top + height, left : left + width]


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
        pytest.param(corners(20, 60, 0, 0), 1, id="a false face upright, a true one turned"),
        pytest.param(corners(60, 75, 92, 80), 2, id="the best of four"),
        pytest.param(corners(60, 75, 0, 80), 3, id="the better of two sides"),
        pytest.param(corners(30, 54, 0, 0), 0, id="turned faces must be beyond doubt"),
        pytest.param(corners(60, 69, 0, 0), 0, id="turned faces must be clearly better"),
        pytest.param(corners(20, 0, 60, 0), 0, id="upside down they must be surely upright"),
        pytest.param(corners(20, 0, 92, 0), 2, id="surely upright upside down"),
        pytest.param(corners(70, 70, 70, 70), 0, id="equal scores"),
        pytest.param(corners(0, 0, 0, 60), 3, id="the last turn"),
    ],
)
def test_the_turn_with_the_best_face_is_taken(image: Pixels, turns: int) -> None:
    assert find_face(image, DETECTOR).turns == turns


def test_an_image_without_a_face_is_refused(yunet: YuNetDetector) -> None:
    with pytest.raises(NoFace):
        find_face(np.full((300, 400, 3), 128, np.uint8), yunet)


def test_a_face_smaller_than_wanted_is_refused_with_both_sizes(
    yunet: YuNetDetector, grace: Pixels
) -> None:
    with pytest.raises(FaceTooSmall, match="174 pixels wide; 175 are needed"):
        find_face(grace, yunet, min_face_px=175)


def test_a_face_in_a_huge_image_is_found_where_it_is(grace: Pixels, yunet: YuNetDetector) -> None:
    """Compare with a photo four times as large, which is shrunk before the detection."""
    huge = np.asarray(cv2.resize(grace, None, fx=4, fy=4), np.uint8)
    small, large = (find_face(pixels, yunet) for pixels in (grace, huge))
    np.testing.assert_allclose(large.face.landmarks / 4, small.face.landmarks, atol=4)
    assert large.pixels.shape == huge.shape
