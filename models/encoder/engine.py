"""What runs an encoder: uint8 crops to pooled features, the same numbers from every engine."""

from typing import Protocol

import torch
from torch import Tensor, nn

from models.encoder import EngineChoice, EngineName
from models.encoder.device import Precision, choose_device
from models.encoder.encoder import Encoder, TorchEncoder
from models.encoder.onnx import OnnxEncoder
from models.encoder.pixels import PixelSpec, encoder_pixels
from models.errors import InvalidBundle

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Engine(Protocol):
    """Map `(n, 3, size, size)` uint8 crops to `(n, looks, width)` float32 features.

    One look at a crop, or two where the bundle adds its mirror image. Called by one thread at
    a time.
    """

    @property
    def name(self) -> EngineName: ...

    def __call__(self, crops: Tensor) -> Tensor: ...


class Looks(nn.Module):
    """Compute all that an engine computes, in torch; other engines translate it."""

    def __init__(self, encoder: TorchEncoder, pixels: PixelSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = encoder.network.to(dtype)
        self._encoder = encoder
        self._pixels = pixels
        self._dtype = dtype

    def forward(self, crops: Tensor) -> Tensor:
        """Return `(n, looks, width)` float32 features of `(n, 3, size, size)` uint8 crops."""
        pixels = encoder_pixels(crops.to(self._dtype), self._pixels)
        features: Tensor = self._encoder(pixels).float()
        return apart(features, self._pixels)


def apart(features: Tensor, pixels: PixelSpec) -> Tensor:
    """Turn `(looks * n, width)` features into `(n, looks, width)`."""
    # Written so that no number of crops is a constant when the computation is traced.
    return features.view(1 + pixels.mirror, -1, features.shape[1]).transpose(0, 1)


class TorchEngine:
    """Run the encoder with torch, on any device."""

    name: EngineName = "torch"

    def __init__(self, looks: Looks, device: torch.device) -> None:
        self._looks = looks.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Tensor:
        pinned = crops.pin_memory() if self._device.type == "cuda" else crops
        features: Tensor = self._looks(pinned.to(self._device, non_blocking=True))
        return features


def choose_engine(choice: EngineChoice, encoder: Encoder, device: torch.device) -> EngineName:
    """Return what runs the encoder: what was asked for, or what was measured to be fastest.

    An ONNX network takes OpenVINO on a CPU and ONNX Runtime on a GPU; all others take torch.
    """
    if choice != "auto":
        return choice
    if not isinstance(encoder, OnnxEncoder):
        return "torch"
    return "openvino" if device.type == "cpu" else "onnxruntime"


def device_for(encoder: Encoder, wanted: str) -> torch.device:
    """Return the device asked for, or with `auto` the best one that can run this encoder.

    A GPU runs an ONNX network only where ONNX Runtime is built for it. Raises InvalidBundle if
    the device asked for is absent.
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
    """Make an encoder ready to run; raises InvalidBundle if the engine cannot run it."""
    name = choose_engine(choice, encoder, device)
    if isinstance(encoder, OnnxEncoder):
        return _open_onnx_engine(name, encoder, pixels, device, precision)
    assert isinstance(encoder, TorchEncoder)
    match name:
        case "torch":
            return TorchEngine(Looks(encoder, pixels, DTYPES[precision]), device)
        case "openvino":
            from models.encoder.openvino import OpenVinoEngine

            looks = Looks(encoder, pixels, torch.float32)
            return OpenVinoEngine(looks, pixels.size, device, precision)
        case "onnxruntime":
            raise InvalidBundle(
                "The engine `onnxruntime` runs ONNX networks alone; set LIKENESS_ENGINE to "
                "`auto`, `torch` or `openvino` for this bundle."
            )


def _open_onnx_engine(
    name: EngineName,
    encoder: OnnxEncoder,
    pixels: PixelSpec,
    device: torch.device,
    precision: Precision,
) -> Engine:
    from models.encoder.onnx_engine import OnnxEngine, with_onnxruntime, with_openvino

    match name:
        case "openvino":
            run = with_openvino(encoder, device, precision)
        case "onnxruntime":
            run = with_onnxruntime(encoder, device, precision)
        case "torch":
            raise InvalidBundle(
                "The engine `torch` does not run ONNX networks; set LIKENESS_ENGINE to `auto`, "
                "`openvino` or `onnxruntime` for this bundle."
            )
    return OnnxEngine(name, run, encoder, pixels)
