"""Choose and open the engine, the library that runs an encoder.

Every engine computes the same features.
"""

import torch
from torch import Tensor

from models.encoder import EngineChoice, EngineName
from models.encoder.device import Precision, choose_device
from models.encoder.encoder import DTYPES, Encoder, Engine, FeatureNetwork, TorchEncoder
from models.encoder.onnx import OnnxEncoder
from models.encoder.pixels import PixelSpec
from models.errors import InvalidBundle


class TorchEngine:
    """Run an encoder with torch, on any device."""

    name: EngineName = "torch"

    def __init__(self, network: FeatureNetwork, device: torch.device) -> None:
        self._network = network.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Tensor:
        pinned = crops.pin_memory() if self._device.type == "cuda" else crops
        features: Tensor = self._network(pinned.to(self._device, non_blocking=True))
        return features


def _choose_engine(choice: EngineChoice, encoder: Encoder, device: torch.device) -> EngineName:
    """Return the chosen engine; for `auto`, the engine that was measured to be fastest.

    That is OpenVINO for an ONNX network on a CPU, ONNX Runtime for one on a GPU, and torch for all
    other encoders.
    """
    if choice != "auto":
        return choice
    if not isinstance(encoder, OnnxEncoder):
        return "torch"
    return "openvino" if device.type == "cpu" else "onnxruntime"


def device_for(encoder: Encoder, wanted: str) -> torch.device:
    """Return the device `wanted`; for `auto`, the best one that can run this encoder.

    A GPU can run an ONNX network only if ONNX Runtime is built for it. Raises InvalidBundle if
    the wanted device is absent.
    """
    device = choose_device(wanted)
    if wanted == "auto" and device.type == "cuda" and isinstance(encoder, OnnxEncoder):
        from models.encoder.onnx_engine import onnxruntime_has_cuda

        return device if onnxruntime_has_cuda() else torch.device("cpu")
    return device


def open_engine(
    choice: EngineChoice,
    encoder: Encoder,
    pixels: PixelSpec,
    device: torch.device,
    precision: Precision,
) -> Engine:
    """Open the engine for an encoder; raises InvalidBundle if it cannot run the encoder."""
    name = _choose_engine(choice, encoder, device)
    if isinstance(encoder, OnnxEncoder):
        return _open_onnx_engine(name, encoder, pixels, device, precision)
    assert isinstance(encoder, TorchEncoder)
    match name:
        case "torch":
            return TorchEngine(FeatureNetwork(encoder, pixels, DTYPES[precision]), device)
        case "openvino":
            from models.encoder.openvino import OpenVinoEngine

            network = FeatureNetwork(encoder, pixels, torch.float32)
            return OpenVinoEngine(network, pixels.size, device, precision)
        case "onnxruntime":
            raise InvalidBundle(
                "The engine `onnxruntime` runs ONNX networks only; set LIKENESS_ENGINE to "
                "`auto`, `torch` or `openvino` for this bundle."
            )


def _open_onnx_engine(
    name: EngineName,
    encoder: OnnxEncoder,
    pixels: PixelSpec,
    device: torch.device,
    precision: Precision,
) -> Engine:
    from models.encoder.onnx_engine import OnnxEngine, onnxruntime_runner, openvino_runner

    match name:
        case "openvino":
            run = openvino_runner(encoder, device, precision)
        case "onnxruntime":
            run = onnxruntime_runner(encoder, device, precision)
        case "torch":
            raise InvalidBundle(
                "The engine `torch` does not run ONNX networks; set LIKENESS_ENGINE to `auto`, "
                "`openvino` or `onnxruntime` for this bundle."
            )
    return OnnxEngine(name, run, encoder, pixels)
