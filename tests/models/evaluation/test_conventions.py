from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.encoder.onnx import OnnxEncoder
from models.encoder.pixels import PixelSpec
from models.errors import InvalidBundle
from models.evaluation.conventions import (
    FaceSet,
    check_outputs,
    compare_conventions,
    vary_crops,
)
from models.weights import SFACE, locate
from tests.networks import SIZE, faces, write_network

SPEC = PixelSpec(112, margin=0.0, template="arcface")


@pytest.fixture(scope="module")
def sface() -> OnnxEncoder:
    return OnnxEncoder.load(locate(SFACE))


def test_the_convention_of_sface_is_red_first_and_0_to_255(
    sface: OnnxEncoder, sface_chips: Sequence[NDArray[np.uint8]]
) -> None:
    best = compare_conventions(sface, vary_crops([sface_chips[0], sface_chips[4]]), SPEC)[0]
    assert best.title == "RGB, x"
    assert best.pixels.mean == (0, 0, 0)


def test_a_network_that_tells_faces_apart_passes(
    sface: OnnxEncoder, sface_chips: Sequence[NDArray[np.uint8]]
) -> None:
    faces_ = vary_crops([sface_chips[0], sface_chips[4]])
    best = compare_conventions(sface, faces_, SPEC)[0]
    checked = check_outputs(sface, faces_, best.pixels)
    assert checked.genuine > 0.8
    assert checked.impostor < 0.3


def test_a_network_that_gives_all_faces_alike_is_refused(
    sface: OnnxEncoder, sface_chips: Sequence[NDArray[np.uint8]]
) -> None:
    # SFace with pixels that are scaled to nearly black.
    wrong = PixelSpec(112, 0.0, mean=(0.5,) * 3, std=(0.5,) * 3, template="arcface")
    with pytest.raises(InvalidBundle, match=r"tell them apart|agree no better"):
        check_outputs(sface, vary_crops([sface_chips[0], sface_chips[4]]), wrong)


def test_a_network_of_noise_is_refused(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx", blind=True))
    spec = PixelSpec(SIZE, 0.0, template="arcface")
    with pytest.raises(InvalidBundle):
        check_outputs(encoder, FaceSet(faces(6), np.array([0, 0, 1, 1, 2, 2])), spec)
