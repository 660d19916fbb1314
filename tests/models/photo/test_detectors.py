from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.embedder import Embedder, Row
from models.encoder.device import choose_device
from models.errors import InvalidBundle
from models.photo import DetectorName
from models.photo.detectors import (
    DetectorSource,
    DlibDetector,
    NoDetector,
    YuNetDetector,
    find_detector,
    scale_to,
)
from models.photo.face import Box, Detector, Framing, align, find_face
from models.weights import YUNET, locate

Pixels = NDArray[np.uint8]


@pytest.fixture(params=["yunet", pytest.param("dlib", marks=pytest.mark.dlib)])
def detector(request: pytest.FixtureRequest) -> Detector:
    """Return every detector that looks for faces."""
    name: DetectorName = request.param
    return DetectorSource(name).open()


# All that look for faces


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
