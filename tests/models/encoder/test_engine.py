import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.embedder import Embedder
from models.encoder.engine import open_engine
from models.encoder.pixels import stack
from models.errors import InvalidBundle

Pixels = NDArray[np.uint8]

CPU = torch.device("cpu")
# Templates made by one engine are compared with probes of another: one minus their cosine.
TOLERANCE = 1e-5


@pytest.mark.parametrize("source", ["dlib", "builtin"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_engine_gives_the_features_of_torch(
    source: str, count: int, chips: list[Pixels]
) -> None:
    bundle = load_bundle(source)
    size = bundle.manifest.pixels.size
    crops = stack([np.ascontiguousarray(chip[:size, :size]) for chip in chips[:count]])
    wanted = open_engine("torch", bundle, CPU, "fp32")(crops)
    found = open_engine("openvino", bundle, CPU, "fp32")(crops)
    assert found.shape == wanted.shape
    assert (torch.cosine_similarity(found, wanted, dim=2) >= 1 - TOLERANCE).all()


def test_features_stay_what_they_were_when_the_engine_runs_again(chips: list[Pixels]) -> None:
    engine = open_engine("openvino", load_bundle("dlib"), CPU, "fp32")
    first = engine(stack(chips[:1]))
    kept = first.clone()
    engine(stack(chips[4:5]))
    assert torch.equal(first, kept)


def test_openvino_refuses_a_gpu() -> None:
    with pytest.raises(InvalidBundle, match="runs on the CPU"):
        Embedder(load_bundle("dlib"), torch.device("cuda"), "fp32", "openvino")


def test_openvino_that_is_not_installed_is_named_with_its_remedy() -> None:
    # A process of its own, in which the package cannot be found.
    program = """
import sys, torch
sys.modules["openvino"] = None
from models.bundle import load_bundle
from models.encoder.engine import open_engine
from models.errors import InvalidBundle
try:
    open_engine("openvino", load_bundle("dlib"), torch.device("cpu"), "fp32")
except InvalidBundle as error:
    print(error.sentence)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'likeness[openvino]'" in found.stdout


def test_openvino_keeps_no_identity_to_report_under(tmp_path: Path) -> None:
    # Left to itself it puts one in the home folder and reports every import to its makers.
    program = """
import torch
from models.bundle import load_bundle
from models.encoder.engine import open_engine
open_engine("openvino", load_bundle("dlib"), torch.device("cpu"), "fp32")
"""
    environment = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not (tmp_path / "intel").exists()
