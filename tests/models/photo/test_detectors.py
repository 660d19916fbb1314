from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.bundle import load_bundle
from models.embedder import Embedder, Row
from models.encoder.device import choose_device
from models.errors import InvalidBundle, NoFace
from models.photo import DetectorName
from models.photo.crop import crop_face
from models.photo.detectors import (
    DetectorSource,
    DlibDetector,
    NoDetector,
    YuNetDetector,
    find_detector,
    scale_to,
)
from models.photo.face import Box, Detector, Face, Framing, align, find_face, find_faces
from models.weights import YUNET, locate
from tests.photos import jpeg

Pixels = NDArray[np.uint8]


@pytest.fixture(params=["yunet", pytest.param("dlib", marks=pytest.mark.dlib)])
def detector(request: pytest.FixtureRequest) -> Detector:
    """Return every detector that looks for faces."""
    name: DetectorName = request.param
    return DetectorSource(name).open()


# All detectors that find faces


def test_the_one_face_is_found(detector: Detector, grace: Pixels) -> None:
    confident = [f for f in detector.detect(grace) if f.score >= detector.confident]
    assert len(confident) == 1


def test_the_landmarks_lie_inside_the_box(detector: Detector, astronaut: Pixels) -> None:
    face = find_face(astronaut, detector).face
    inside = (face.landmarks - (face.box.left, face.box.top)) / (face.box.width, face.box.height)
    assert ((inside > 0) & (inside < 1)).all()


def test_boxes_are_in_pixels_of_the_image_whatever_its_size(
    detector: Detector, grace: Pixels
) -> None:
    double = np.asarray(cv2.resize(grace, (1024, 1200)), np.uint8)
    box = find_face(double, detector).box
    assert box.scaled(0.5).overlap(find_face(grace, detector).box) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (7, 5)])
def test_images_of_any_shape_are_searched(detector: Detector, shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    assert [*detector.detect(image), *detector.detect_small(image)] == []


def test_nothing_is_found_in_a_plain_image(detector: Detector) -> None:
    image = np.full((300, 400, 3), 128, np.uint8)
    assert [*detector.detect(image), *detector.detect_small(image)] == []


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_no_detector_is_misled_by_a_turned_photo(
    detector: Detector, photo: str, quarters: int, request: pytest.FixtureRequest
) -> None:
    turned = np.ascontiguousarray(np.rot90(request.getfixturevalue(photo), -quarters))
    assert find_face(turned, detector).turns == quarters


# dlib


def test_scaling_brings_the_shorter_side_to_its_length() -> None:
    scaled, factor = scale_to(np.zeros((500, 1000, 3), np.uint8), 320)
    assert (scaled.shape, factor) == ((320, 640, 3), 0.64)


def test_scaling_bounds_the_longer_side() -> None:
    assert scale_to(np.zeros((2, 9000, 3), np.uint8), 320)[0].shape == (1, 4096, 3)


@pytest.mark.dlib
def test_yunet_finds_the_face_where_dlib_does(
    yunet: YuNetDetector, dlib_detector: DlibDetector, grace: Pixels
) -> None:
    assert find_face(grace, yunet).box.overlap(find_face(grace, dlib_detector).box) > 0.6


@pytest.mark.dlib
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_yunet_crops_as_dlib_does(
    yunet: YuNetDetector,
    dlib_detector: DlibDetector,
    photo: str,
    request: pytest.FixtureRequest,
) -> None:
    pixels: Pixels = request.getfixturevalue(photo)
    framing = Framing(150, 0.25, "dlib")
    crops = [
        align(find_face(pixels, detector), detector, framing).pixels
        for detector in (yunet, dlib_detector)
    ]
    embedder = Embedder(load_bundle("dlib"), choose_device("cpu"), "fp32")
    one, other = (row.vector for row in embedder(crops) if isinstance(row, Row))
    assert one @ other > 0.96  # the bundle calls 0.928 a match


# YuNet


def in_a_corner(face: Pixels, side: int, width: int, height: int) -> Pixels:
    """Return a grey image of this size with the photo of a face, `side` wide, in a corner."""
    image = np.full((height, width, 3), 128, np.uint8)
    small = np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    image[-side:, -side:] = small
    return image


def test_a_face_too_small_for_the_first_look_is_found_by_the_second(
    yunet: YuNetDetector, astronaut: Pixels
) -> None:
    # 45 pixels of 900 wide: a twentieth.
    photo = in_a_corner(astronaut, 256, 900, 700)
    (face,) = yunet.detect(photo)
    assert face.box.left > 900 - 256
    assert face.box.shorter == pytest.approx(45, abs=4)


def test_a_face_too_small_for_both_is_found_by_the_finer_look(
    yunet: YuNetDetector, astronaut: Pixels
) -> None:
    photo = in_a_corner(astronaut, 256, 4000, 3000)
    assert yunet.detect(photo) == []
    (face,) = yunet.detect_small(photo)
    assert (face.box.left > 4000 - 256, face.box.top > 3000 - 256) == (True, True)
    assert face.box.shorter == pytest.approx(45, abs=4)


def test_a_face_on_the_seam_of_two_tiles_is_found_once(
    yunet: YuNetDetector, astronaut: Pixels
) -> None:
    # Tiles are 1,024 pixels of a photo that is shrunk to 0.6, and overlap by 96.
    photo = np.full((1200, 3200, 3), 128, np.uint8)
    small = np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    for left in (1500, 1480, 1520, 1420):
        image = photo.copy()
        image[300:556, left : left + 256] = small
        assert len(yunet.detect_small(image)) == 1


def test_weights_of_another_checksum_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not YuNet")
    with pytest.raises(InvalidBundle, match="SHA-256"):
        find_detector("yunet", "dlib", yunet_path=tmp_path / "other.onnx")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"absent\.onnx cannot be read"):
        find_detector("yunet", "dlib", yunet_path=tmp_path / "absent.onnx")


def test_weights_that_opencv_cannot_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not YuNet")
    with pytest.raises(InvalidBundle, match=r"OpenCV cannot read .*other\.onnx"):
        YuNetDetector(tmp_path / "other.onnx")


# None, and opening by name


def test_none_takes_the_whole_image_for_the_face(grace: Pixels) -> None:
    found = find_face(grace, NoDetector())
    assert (found.box, found.turns) == (Box(0, 0, 512, 600), 0)


@pytest.mark.parametrize("name", ["yunet", "none", pytest.param("dlib", marks=pytest.mark.dlib)])
def test_detectors_are_opened_by_name(name: DetectorName) -> None:
    assert find_detector(name, "dlib").open().name == name


def test_yunet_is_opened_from_what_is_installed_without_a_path() -> None:
    assert find_detector("yunet", "arcface") == DetectorSource("yunet", locate(YUNET))


def test_a_detector_that_lacks_the_points_of_a_template_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="that do are `yunet`"):
        find_detector("dlib", "arcface")


FRAMING = Framing(112, 0.0, "arcface")


# Which faces YuNet finds: by size, place and number, and the way they lie


def scene(width: int, height: int, seed: int = 0) -> Pixels:
    """Paint a room out of focus, `(height, width, 3)`."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 216, (height // 80 + 2, width // 80 + 2, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def face_of(portrait: Pixels, yunet: YuNetDetector) -> Face:
    return find_face(portrait, yunet).face


def put(
    into: Pixels, portrait: Pixels, yunet: YuNetDetector, face_px: float, x: int, y: int
) -> Box:
    """Paste a head scaled so that the shorter side of its face is `face_px`, at x and y.

    Returns the face's box.
    """
    box = face_of(portrait, yunet).box
    left, top = (max(0, round(at - 0.4 * box.width)) for at in (box.left, box.top))
    portrait = portrait[top : round(top + 1.9 * box.height), left : round(left + 1.8 * box.width)]
    box = Box(box.left - left, box.top - top, box.width, box.height)
    scale = face_px / box.shorter
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=method)
    small = small[: into.shape[0] - y, : into.shape[1] - x]
    into[y : y + small.shape[0], x : x + small.shape[1]] = small
    scaled = box.scaled(scale)
    return Box(scaled.left + x, scaled.top + y, scaled.width, scaled.height)


# At the first search


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("face_px", [80, 100, 200, 400])
def test_a_face_of_a_twentieth_of_the_photo_and_more_is_found_at_once(
    face_px: int, seed: int, yunet: YuNetDetector, astronaut: Pixels
) -> None:
    photo = scene(1200, 1600, seed)
    random = np.random.default_rng(seed)
    x, y = int(random.integers(0, 300)), int(random.integers(0, 400))
    placed = put(photo, astronaut, yunet, face_px, x, y)
    assert find_face(photo, yunet).box.overlap(placed) > 0.6


def test_all_eight_faces_of_a_selfie_are_found(
    yunet: YuNetDetector, grace: Pixels, astronaut: Pixels
) -> None:
    photo = scene(1600, 1200)
    placed = [
        put(
            photo,
            (grace, astronaut)[at % 2],
            yunet,
            90 + 5 * at,
            390 * (at % 4),
            560 * (at // 4),
        )
        for at in range(8)
    ]
    found = [each.box for each in find_faces(photo, yunet)]
    assert all(max(box.overlap(other) for other in found) > 0.5 for box in placed)
    assert len(found) == 8


@pytest.mark.parametrize("share", [1.0, 0.8, 0.7])
@pytest.mark.parametrize("pixels", [160, 480, 1500])
def test_a_face_that_fills_the_picture_is_found(
    share: float, pixels: int, yunet: YuNetDetector, astronaut: Pixels
) -> None:
    box = face_of(astronaut, yunet).box
    (x, y), half = box.centre, share * box.width / 2
    tall = share * box.height / 2
    tight = astronaut[int(y - tall) : int(y + tall), int(x - half) : int(x + half)]
    photo = cv2.resize(tight, (pixels, round(pixels * tall / half)), interpolation=cv2.INTER_CUBIC)
    assert find_face(np.asarray(photo, np.uint8), yunet).face.score >= yunet.confident


@pytest.mark.parametrize("side", ["left", "right", "bottom"])
def test_a_face_cut_by_the_border_is_found(
    side: str, yunet: YuNetDetector, astronaut: Pixels
) -> None:
    box = face_of(astronaut, yunet).box
    left, right = int(box.left + 0.25 * box.width), int(box.left + 0.75 * box.width)
    photo = {
        "left": astronaut[:, left:],
        "right": astronaut[:, :right],
        "bottom": astronaut[: int(box.top + 0.85 * box.height)],
    }[side]
    assert find_face(photo, yunet).turns == 0


# At the finer search


@pytest.mark.parametrize("lossless", [True, False])
def test_a_face_of_forty_pixels_in_a_large_photo_is_found_by_a_finer_look(
    lossless: bool, yunet: YuNetDetector, astronaut: Pixels
) -> None:
    photo = scene(3000, 2000)
    placed = put(photo, astronaut, yunet, 40, 1700, 1100)
    data = png(photo) if lossless else jpeg(Image.fromarray(photo), 92)
    portrait = crop_face(data, yunet, "single", FRAMING)
    assert portrait.face.box.overlap(placed) > 0.5
    assert portrait.face.face_count == 1


def test_a_finer_look_finds_every_face_once_also_where_two_parts_meet(
    yunet: YuNetDetector, grace: Pixels, astronaut: Pixels
) -> None:
    photo = scene(3600, 2400)
    for at in range(12):
        put(photo, (grace, astronaut)[at % 2], yunet, 44, 120 + 290 * at, 150 + 180 * at)
    assert len(find_faces(photo, yunet, finer=True)) == 12


def test_a_photo_without_a_face_has_none(yunet: YuNetDetector) -> None:
    with pytest.raises(NoFace):
        crop_face(png(scene(1600, 1200)), yunet, "single", FRAMING)


def png(pixels: Pixels) -> bytes:
    _, data = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


# Turned photos


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_a_clean_face_is_brought_upright(
    photo: str, quarters: int, yunet: YuNetDetector, request: pytest.FixtureRequest
) -> None:
    upright = request.getfixturevalue(photo)
    assert find_face(np.ascontiguousarray(np.rot90(upright, -quarters)), yunet).turns == quarters


@pytest.mark.parametrize("colour", [(235, 235, 235), (90, 150, 200), (40, 40, 40)])
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_a_masked_face_is_not_taken_for_one_upside_down(
    photo: str,
    colour: tuple[int, int, int],
    yunet: YuNetDetector,
    request: pytest.FixtureRequest,
) -> None:
    masked = wearing_a_mask(request.getfixturevalue(photo), yunet, colour)
    assert find_face(masked, yunet).turns == 0


def wearing_a_mask(photo: Pixels, yunet: YuNetDetector, colour: tuple[int, int, int]) -> Pixels:
    """Cover the face from the bridge of the nose to below the chin."""
    right_eye, left_eye, nose, right_mouth, left_mouth = face_of(photo, yunet).landmarks
    across, down = left_eye - right_eye, (right_mouth + left_mouth - right_eye - left_eye) / 2
    top, chin = nose - 0.25 * down, nose + 1.2 * down
    edge = np.array(
        [top, top + 0.75 * across, chin + 0.4 * across, chin - 0.4 * across, top - 0.75 * across]
    )
    masked = photo.copy()
    cv2.fillPoly(masked, [edge.astype(np.int32)], colour)
    return masked


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_two_faces_as_large_the_one_nearer_to_the_middle_counts(
    side: str, yunet: YuNetDetector, grace: Pixels, astronaut: Pixels
) -> None:
    photo = scene(1400, 700)
    middle = put(photo, astronaut, yunet, 100, 620, 200)
    put(photo, grace, yunet, 115, {"left": 60, "right": 1180}[side], 200)
    assert find_face(photo, yunet, "largest").box.overlap(middle) > 0.5
