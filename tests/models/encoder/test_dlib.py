from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import BUILTIN_FOLDER, read_manifest
from models.encoder.dlib import DLIB_WEIGHTS, DlibResNet, load_dlib_resnet
from models.encoder.pixels import stack, standardise
from models.errors import InvalidBundle
from models.weights import dlib_file

if TYPE_CHECKING:
    from dlib import face_recognition_model_v1

Pixels = NDArray[np.uint8]

pytestmark = pytest.mark.dlib


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    return load_dlib_resnet(dlib_file(DLIB_WEIGHTS))


@pytest.fixture(scope="module")
def original() -> "face_recognition_model_v1":
    import dlib

    return dlib.face_recognition_model_v1(str(dlib_file(DLIB_WEIGHTS)))


@torch.inference_mode()
def descriptors(network: DlibResNet, crops: list[Pixels]) -> NDArray[np.float32]:
    spec = read_manifest(BUILTIN_FOLDER / "dlib").pixels
    pixels = standardise(stack(crops).float(), spec.mean, spec.std)
    return np.asarray(network(pixels).numpy(), np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_descriptors_of_noise_equal_dlibs(
    network: DlibResNet, original: "face_recognition_model_v1", seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (150, 150, 3), np.uint8)
    theirs = np.array(original.compute_face_descriptor(noise))
    np.testing.assert_allclose(descriptors(network, [noise])[0], theirs, atol=1e-5)


def test_descriptors_of_faces_equal_dlibs(
    network: DlibResNet, original: "face_recognition_model_v1", dlib_chips: list[Pixels]
) -> None:
    faces = dlib_chips[::4]
    theirs = np.array([original.compute_face_descriptor(chip) for chip in faces])
    np.testing.assert_allclose(descriptors(network, faces), theirs, atol=1e-5)


def test_another_of_dlibs_files_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="is not dlib's face recognition ResNet"):
        load_dlib_resnet(dlib_file("shape_predictor_5_face_landmarks.dat"))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.dat"
    path.write_bytes(dlib_file(DLIB_WEIGHTS).read_bytes()[:10_000_001])
    with pytest.raises(InvalidBundle, match=r"half\.dat"):
        load_dlib_resnet(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"absent\.dat"):
        load_dlib_resnet(tmp_path / "absent.dat")
