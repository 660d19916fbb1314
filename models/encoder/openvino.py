"""Run an encoder with OpenVINO: the same computation, compiled for this CPU."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from models.encoder import EngineName
from models.encoder.device import Precision
from models.encoder.encoder import FeatureNetwork
from models.errors import InvalidBundle

if TYPE_CHECKING:
    from openvino import Core, InferRequest

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Run `Looks` as OpenVINO compiles it, on the CPU, one batch at a time on all cores.

    Raises InvalidBundle if OpenVINO is not installed or the device is no CPU.
    """

    name: EngineName = "openvino"

    def __init__(
        self, looks: FeatureNetwork, size: int, device: torch.device, precision: Precision
    ) -> None:
        core = open_core(device)
        self._request = compile_model(core, _translate(looks, size), precision)

    def __call__(self, crops: Tensor) -> Tensor:
        # Crops are stacked channels last, so that this is no copy.
        pixels = np.ascontiguousarray(crops.permute(0, 2, 3, 1).numpy())
        features = self._request.infer([pixels], share_inputs=True)[0]
        return torch.from_numpy(np.array(features, np.float32))


def open_core(device: torch.device) -> "Core":
    """Import OpenVINO and open it; raises InvalidBundle if it is absent or the device no CPU."""
    if device.type != "cpu":
        raise InvalidBundle(f"The engine `openvino` runs on the CPU, not on `{device}`.")
    if find_spec("openvino") is None:
        raise InvalidBundle("The engine `openvino` is not installed: pip install openvino")
    # Importing OpenVINO reports the fact to its makers, unasked, if this can be found.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def compile_model(core: "Core", model: object, precision: Precision) -> "InferRequest":
    """Compile a model for this CPU: one batch at a time, on all cores that torch would use."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return core.compile_model(model, "CPU", settings).create_infer_request()


class _ChannelsLast(nn.Module):
    def __init__(self, looks: FeatureNetwork) -> None:
        super().__init__()
        self.looks = looks

    def forward(self, crops: Tensor) -> Tensor:
        features: Tensor = self.looks(crops.permute(0, 3, 1, 2))
        return features


def _translate(looks: FeatureNetwork, size: int) -> object:
    """Trace the computation and hand it to OpenVINO's own reader of TorchScript."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode(), _quiet():
        decoder = TorchScriptPythonDecoder(_ChannelsLast(looks), example_input=(example,))
        reader = FrontEndManager().load_by_framework("pytorch")
        model = reader.convert(reader.load(decoder))
    model.reshape([-1, size, size, 3])
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep doubts about tracing off the terminal.

    Shapes that are taken for constants are constants, all but the number of crops; and tracing
    looks at every attribute of a CLIP, which makes transformers talk about losses.
    """
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
