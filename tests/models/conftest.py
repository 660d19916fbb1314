"""What is slow to build and shared by the tests of the numerics."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.embedder import Embedder
from models.photo.detectors import DlibDetector, YuNetDetector
from models.photo.face import Framing, align, find_face
from models.weights import YUNET, locate
from tests.checkpoints import write_bundle

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def yunet() -> YuNetDetector:
    return YuNetDetector(locate(YUNET))


@pytest.fixture(scope="session")
def dlib_detector() -> DlibDetector:
    """Return dlib's detector; for tests marked `dlib`."""
    return DlibDetector()


@pytest.fixture(scope="session")
def sface_bundle() -> Bundle:
    return load_bundle("sface")


@pytest.fixture(scope="session")
def sface_embedder(sface_bundle: Bundle) -> Embedder:
    """Serve SFace's bundle in float32 on the CPU."""
    return Embedder(sface_bundle, torch.device("cpu"), "fp32")


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle directory to read; copy it before changing it."""
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def retakes(grace: Pixels, astronaut: Pixels) -> list[Pixels]:
    """Return photos: four of Grace Hopper, then four of Eileen Collins."""
    return [*_retakes(grace), *_retakes(astronaut)]


@pytest.fixture(scope="session")
def sface_chips(yunet: YuNetDetector, retakes: list[Pixels]) -> list[Pixels]:
    """Return `(112, 112, 3)` crops of these, aligned as ArcFace's are."""
    return [_cut(photo, yunet, Framing(112, 0.0, "arcface")) for photo in retakes]


@pytest.fixture(scope="session")
def dlib_chips(yunet: YuNetDetector, retakes: list[Pixels]) -> list[Pixels]:
    """Return `(150, 150, 3)` crops of these, aligned as dlib's are."""
    return [_cut(photo, yunet, Framing(150, 0.25)) for photo in retakes]


def _cut(photo: Pixels, detector: YuNetDetector, framing: Framing) -> Pixels:
    return align(find_face(photo, detector), detector, framing).pixels


def _retakes(photo: Pixels) -> list[Pixels]:
    """Return the photo, its mirror image, a darker and a coarser one."""
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    darker = (photo * 0.6).astype(np.uint8)
    return [photo, np.ascontiguousarray(photo[:, ::-1]), darker, np.asarray(small, np.uint8)]
