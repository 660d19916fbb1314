from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import DlibDetector, NoDetector, YuNetDetector, open_detector, scale_to
from models.embedder import Embedder, Row
from models.errors import InvalidBundle
from models.face import Box, align, find

Pixels = NDArray[np.uint8]


def overlap(one: Box, other: Box) -> float:
    """Return intersection over union."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.area + other.area - shared)


# dlib


def test_dlib_finds_the_one_face(dlib_detector: DlibDetector, grace: Pixels) -> None:
    confident = [f for f in dlib_detector.detect(grace) if f.score >= dlib_detector.confident]
    assert len(confident) == 1


def test_dlib_puts_the_landmarks_inside_the_box(
    dlib_detector: DlibDetector, astronaut: Pixels
) -> None:
    face = find(astronaut, dlib_detector).face
    inside = (face.landmarks - (face.box.left, face.box.top)) / (face.box.width, face.box.height)
    assert ((inside > 0) & (inside < 1)).all()


def test_boxes_are_in_pixels_of_the_image_whatever_its_size(
    dlib_detector: DlibDetector, grace: Pixels
) -> None:
    double = np.asarray(cv2.resize(grace, (1024, 1200)), np.uint8)
    box = find(double, dlib_detector).box
    halved = Box(box.left / 2, box.top / 2, box.width / 2, box.height / 2)
    assert overlap(halved, find(grace, dlib_detector).box) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (7, 5)])
def test_images_of_any_shape_are_searched(
    dlib_detector: DlibDetector, shape: tuple[int, int]
) -> None:
    assert dlib_detector.detect(np.zeros((*shape, 3), np.uint8)) == []


def test_scaling_brings_the_shorter_side_to_its_length() -> None:
    scaled, factor = scale_to(np.zeros((500, 1000, 3), np.uint8), 320)
    assert (scaled.shape, factor) == ((320, 640, 3), 0.64)


def test_scaling_bounds_the_longer_side() -> None:
    assert scale_to(np.zeros((2, 9000, 3), np.uint8), 320)[0].shape == (1, 4096, 3)


# YuNet


@pytest.fixture(scope="session")
def yunet(faces: Path) -> YuNetDetector:
    return YuNetDetector(faces / "yunet.onnx")


@pytest.mark.faces
def test_yunet_finds_the_face_where_dlib_does(
    yunet: YuNetDetector, dlib_detector: DlibDetector, grace: Pixels
) -> None:
    assert overlap(find(grace, yunet).box, find(grace, dlib_detector).box) > 0.6


@pytest.mark.faces
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_yunet_crops_as_dlib_does(
    yunet: YuNetDetector,
    dlib_detector: DlibDetector,
    dlib_embedder: Embedder,
    photo: str,
    request: pytest.FixtureRequest,
) -> None:
    pixels: Pixels = request.getfixturevalue(photo)
    crops = [
        align(find(pixels, detector), detector.template, 150, 0.25).pixels
        for detector in (yunet, dlib_detector)
    ]
    one, other = (row.vector for row in dlib_embedder(crops) if isinstance(row, Row))
    assert one @ other > 0.96  # the bundle calls 0.928 a match


@pytest.mark.faces
@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("photo", ["grace", "astronaut"])
def test_yunet_is_not_misled_by_a_turned_photo(
    yunet: YuNetDetector, photo: str, quarters: int, request: pytest.FixtureRequest
) -> None:
    turned = np.ascontiguousarray(np.rot90(request.getfixturevalue(photo), -quarters))
    assert find(turned, yunet).turns == quarters


@pytest.mark.faces
def test_yunet_finds_nothing_in_a_plain_image(yunet: YuNetDetector) -> None:
    assert yunet.detect(np.full((300, 400, 3), 128, np.uint8)) == []


def test_weights_of_another_checksum_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not YuNet")
    with pytest.raises(InvalidBundle, match="SHA-256"):
        YuNetDetector(tmp_path / "other.onnx")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match="No YuNet weights"):
        YuNetDetector(tmp_path / "absent.onnx")


# None, and opening by name


def test_none_takes_the_whole_image_for_the_face(grace: Pixels) -> None:
    found = find(grace, NoDetector())
    assert (found.box, found.turns) == (Box(0, 0, 512, 600), 0)


def test_detectors_are_opened_by_name() -> None:
    assert [open_detector(name).name for name in ("dlib", "none")] == ["dlib", "none"]


def test_yunet_is_not_opened_without_a_path() -> None:
    with pytest.raises(InvalidBundle, match="path"):
        open_detector("yunet")
