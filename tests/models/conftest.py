"""What is slow to build and shared by the tests of the numerics."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.detectors import DlibDetector
from models.embedder import Embedder
from models.face import align, find
from tests.checkpoints import write_bundle

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def dlib_detector() -> DlibDetector:
    return DlibDetector()


@pytest.fixture(scope="session")
def dlib_bundle() -> Bundle:
    return load_bundle("dlib")


@pytest.fixture(scope="session")
def dlib_embedder(dlib_bundle: Bundle) -> Embedder:
    """Serve dlib's bundle in float32 on the CPU."""
    return Embedder(dlib_bundle, torch.device("cpu"), "fp32")


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle directory to read; copy it before changing it."""
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def chips(dlib_detector: DlibDetector, grace: Pixels, astronaut: Pixels) -> list[Pixels]:
    """Return `(150, 150, 3)` crops: four of Grace Hopper, then four of Eileen Collins."""
    photos = [*_retakes(grace), *_retakes(astronaut)]
    return [
        align(find(photo, dlib_detector), dlib_detector.template, 150, 0.25).pixels
        for photo in photos
    ]


def _retakes(photo: Pixels) -> list[Pixels]:
    """Return the photo, its mirror image, a darker and a coarser one."""
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    darker = (photo * 0.6).astype(np.uint8)
    return [photo, np.ascontiguousarray(photo[:, ::-1]), darker, np.asarray(small, np.uint8)]
