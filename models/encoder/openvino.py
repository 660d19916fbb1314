"""Run a torch encoder with OpenVINO, which compiles it for this CPU."""

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
    """Run a FeatureNetwork compiled by OpenVINO on the CPU, one batch at a time on all cores.

    Raises InvalidBundle if OpenVINO is not installed or the device is not a CPU.
    """

    name: EngineName = "openvino"

    def __init__(
        self, network: FeatureNetwork, size: int, device: torch.device, precision: Precision
    ) -> None:
        core = open_core(device)
        self._request = compile_model(core, _translate(network, size), precision)

    def __call__(self, crops: Tensor) -> Tensor:
        # The channels of crops are last in memory, so this does not copy them.
        pixels = np.ascontiguousarray(crops.permute(0, 2, 3, 1).numpy())
        features = self._request.infer([pixels], share_inputs=True)[0]
        return torch.from_numpy(np.array(features, np.float32))


def open_core(device: torch.device) -> "Core":
    """Open OpenVINO; raises InvalidBundle if it is not installed or the device is not a CPU."""
    if device.type != "cpu":
        raise InvalidBundle(f"The engine `openvino` runs on the CPU, not on `{device}`.")
    if find_spec("openvino") is None:
        raise InvalidBundle("The engine `openvino` is not installed: pip install openvino")
    # OpenVINO reports its use to Intel if this module can be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def compile_model(core: "Core", model: object, precision: Precision) -> "InferRequest":
    """Compile a model to run one batch at a time on all cores that torch would use."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return core.compile_model(model, "CPU", settings).create_infer_request()


class _ChannelsLast(nn.Module):
    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        features: Tensor = self.network(crops.permute(0, 3, 1, 2))
        return features


def _translate(network: FeatureNetwork, size: int) -> object:
    """Trace the network and let OpenVINO read the resulting TorchScript."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode(), _quiet():
        decoder = TorchScriptPythonDecoder(_ChannelsLast(network), example_input=(example,))
        reader = FrontEndManager().load_by_framework("pytorch")
        model = reader.convert(reader.load(decoder))
    model.reshape([-1, size, size, 3])
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings about tracing.

    Torch warns that shapes become constants: all but the number of crops are constant anyway.
    Tracing also reads every attribute of a CLIP, and transformers then logs a note on losses.
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
