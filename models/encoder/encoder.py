"""What an encoder is: normalised pixels to pooled features; and dlib's."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor, nn

from models.detectors import model_file
from models.encoder.dlib import DLIB_WEIGHTS, WIDTH, DlibResNet, load_dlib_resnet


class Encoder(Protocol):
    """Map `(n, 3, size, size)` normalised pixels to `(n, width)` features, frozen.

    `image_size` is what the network was built for; `network` holds its weights and
    `architecture` names what decides its features besides them.
    """

    @property
    def width(self) -> int: ...

    @property
    def image_size(self) -> int: ...

    @property
    def network(self) -> nn.Module: ...

    @property
    def architecture(self) -> str: ...

    def __call__(self, pixels: Tensor) -> Tensor: ...


class DlibEncoder:
    """Encode with dlib's face ResNet; features are its descriptor."""

    image_size = 150
    width = WIDTH
    architecture = "dlib"

    def __init__(self, network: DlibResNet) -> None:
        self.network: nn.Module = network.eval().requires_grad_(False)

    @classmethod
    def load(cls) -> "DlibEncoder":
        """Load the weights that come with the package `face-recognition-models`."""
        return cls(load_dlib_resnet(model_file(DLIB_WEIGHTS)))

    def __call__(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return features


def digest(network: nn.Module) -> bytes:
    """Return the SHA-256 of a network's weights, whatever their names and order.

    Names change between library versions and shards change the order; the numbers are what
    makes two vectors comparable.
    """
    parts = sorted(
        hashlib.sha256(
            str(tuple(tensor.shape)).encode() + tensor.detach().float().cpu().numpy().tobytes()
        ).digest()
        for tensor in network.parameters()
    )
    return hashlib.sha256(b"".join(parts)).digest()
