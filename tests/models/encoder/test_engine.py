import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.embedder import Embedder
from models.encoder import EngineName
from models.encoder.encoder import Engine
from models.encoder.engine import open_engine
from models.encoder.pixels import stack
from models.errors import InvalidBundle

Pixels = NDArray[np.uint8]

CPU = torch.device("cpu")
# Templates made by one engine are compared with probes of another: one minus their cosine.
TOLERANCE = 1e-5


def opened(engine: EngineName, bundle: Bundle) -> Engine:
    return open_engine(engine, bundle.encoder, bundle.manifest.pixels, CPU, "fp32")


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("sface", "onnxruntime"),
        ("builtin", "torch"),
        pytest.param("dlib", "torch", marks=pytest.mark.dlib),
    ],
)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_engine_gives_the_same_features(
    source: str, other: EngineName, count: int, sface_chips: list[Pixels], dlib_chips: list[Pixels]
) -> None:
    bundle = load_bundle(source)
    crops = stack((sface_chips if bundle.manifest.pixels.size == 112 else dlib_chips)[:count])
    wanted = opened(other, bundle)(crops)
    found = opened("openvino", bundle)(crops)
    assert found.shape == wanted.shape
    assert (torch.cosine_similarity(found, wanted, dim=2) >= 1 - TOLERANCE).all()


@pytest.mark.parametrize("source", ["sface", "builtin"])
def test_features_stay_what_they_were_when_the_engine_runs_again(
    source: str, sface_chips: list[Pixels]
) -> None:
    engine = opened("openvino", load_bundle(source))
    first = engine(stack(sface_chips[:1]))
    kept = first.clone()
    engine(stack(sface_chips[4:5]))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("source", ["sface", "builtin"])
def test_openvino_refuses_a_gpu(source: str) -> None:
    with pytest.raises(InvalidBundle, match="runs on the CPU"):
        Embedder(load_bundle(source), torch.device("cuda"), "fp32", "openvino")


@pytest.mark.parametrize("source", ["sface", "builtin"])
def test_openvino_that_is_not_installed_is_named_with_its_remedy(source: str) -> None:
    # A process of its own, in which the package cannot be found.
    program = f"""
import sys, torch
sys.modules["openvino"] = None
from models.bundle import load_bundle
from models.embedder import Embedder
from models.errors import InvalidBundle
try:
    Embedder(load_bundle("{source}"), torch.device("cpu"), "fp32", "openvino")
except InvalidBundle as error:
    print(error.sentence)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install openvino" in found.stdout


@pytest.mark.parametrize("source", ["sface", "builtin"])
def test_openvino_keeps_no_identity_to_report_under(source: str, tmp_path: Path) -> None:
    # Left to itself it puts one in the home folder and reports every import to its makers.
    program = f"""
import torch
from models.bundle import load_bundle
from models.embedder import Embedder
Embedder(load_bundle("{source}"), torch.device("cpu"), "fp32", "openvino")
"""
    environment = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not (tmp_path / "intel").exists()
