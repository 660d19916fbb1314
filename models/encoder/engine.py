"""What runs an encoder: uint8 crops to pooled features, the same numbers from every engine."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from models.bundle import Bundle
from models.encoder.device import Precision
from models.encoder.encoder import Encoder
from models.encoder.pixels import PixelSpec, standardise

EngineName = Literal["torch", "openvino"]
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

    def __init__(self, encoder: Encoder, pixels: PixelSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = encoder.network.to(dtype)
        self._encoder = encoder
        self._pixels = pixels
        self._dtype = dtype

    def forward(self, crops: Tensor) -> Tensor:
        """Return `(n, looks, width)` float32 features of `(n, 3, size, size)` uint8 crops."""
        spec = self._pixels
        pixels = standardise(crops.to(self._dtype), spec.mean, spec.std)
        if spec.mirror:
            pixels = torch.cat([pixels, pixels.flip(3)])
        features: Tensor = self._encoder(pixels).float()
        # Written so that no number of crops is a constant when the computation is traced.
        return features.view(1 + spec.mirror, -1, self._encoder.width).transpose(0, 1)


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


def open_engine(
    name: EngineName, bundle: Bundle, device: torch.device, precision: Precision
) -> Engine:
    """Make a bundle's encoder ready to run; raises InvalidBundle if the engine cannot run it."""
    pixels = bundle.manifest.pixels
    match name:
        case "torch":
            return TorchEngine(Looks(bundle.encoder, pixels, DTYPES[precision]), device)
        case "openvino":
            from models.encoder.openvino import OpenVinoEngine

            looks = Looks(bundle.encoder, pixels, torch.float32)
            return OpenVinoEngine(looks, pixels.size, device, precision)
