"""Fixtures that are slow to build, or that several tests of the numerics share."""

import csv
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, Calibration, load_bundle
from models.datasets.features import embed
from models.datasets.labelled import LabelledSet, read_labelled
from models.embedder import Embedder
from models.evaluation.measure import calibrate
from models.photo.detectors import DlibDetector, YuNetDetector
from models.photo.face import Framing, align, find_face
from models.weights import YUNET, locate
from tests.checkpoints import write_bundle
from tests.images import encode, picture
from tests.photos import mirrored, photo_bytes, reencoded

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


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


def write_csv(path: Path, fields: tuple[str, ...], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields)
        writer.writerows(rows)


@pytest.fixture(scope="session")
def labelled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three photos of person 7 and three of person 3, one without a face."""
    folder = tmp_path_factory.mktemp("labelled")
    photos = {
        "grace.jpg": photo_bytes("grace"),
        "small.jpg": reencoded("grace", 250),
        "mirrored.jpg": mirrored(photo_bytes("grace")),
        "ada.png": photo_bytes("astronaut"),
        "again.jpg": reencoded("astronaut", 400),
        "empty.png": encode(picture(), "PNG"),
    }
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    write_csv(folder / "people.csv", ("image", "person"), zip(photos, "777333", strict=True))
    pairs = [
        ("grace.jpg", "small.jpg", 1),
        ("ada.png", "again.jpg", 1),
        ("ada.png", "empty.png", 1),
        ("grace.jpg", "ada.png", 0),
        ("small.jpg", "again.jpg", 0),
    ]
    write_csv(folder / "pairs.csv", ("a", "b", "same"), pairs)
    return folder


@pytest.fixture(scope="session")
def six_photos(labelled_folder: Path) -> LabelledSet:
    return read_labelled(labelled_folder)


@pytest.fixture(scope="session")
def six_vectors(six_photos: LabelledSet, sface_bundle: Bundle) -> Vectors:
    return embed(six_photos, sface_bundle).vectors


@pytest.fixture(scope="session")
def six_photos_calibration(six_photos: LabelledSet, six_vectors: Vectors) -> Calibration:
    return calibrate(six_photos, six_vectors, "six photos")
