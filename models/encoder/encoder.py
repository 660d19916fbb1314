"""What an encoder is: normalised pixels to pooled features, frozen."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.encoder import EngineName
from models.encoder.pixels import PixelSpec, encoder_pixels
from models.errors import InvalidBundle

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Encoder(Protocol):
    """Map `(n, 3, size, size)` normalised pixels to `(n, width)` features.

    `image_size` is what the network was built for, in pixels; `architecture` names what decides
    its features besides its weights. An engine runs it.
    """

    @property
    def width(self) -> int: ...

    @property
    def image_size(self) -> int: ...

    @property
    def architecture(self) -> str: ...

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights, whatever their names and order."""


@runtime_checkable
class TorchEncoder(Encoder, Protocol):
    """An encoder that is a torch module; calling it returns the features."""

    @property
    def network(self) -> nn.Module: ...

    def __call__(self, pixels: Tensor) -> Tensor: ...


class Engine(Protocol):
    """Map `(n, 3, size, size)` uint8 crops to `(n, looks, width)` float32 features.

    One look at a crop, or two where the bundle adds its mirror image. Called by one thread at
    a time.
    """

    @property
    def name(self) -> EngineName: ...

    def __call__(self, crops: Tensor) -> Tensor: ...


class FeatureNetwork(nn.Module):
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
        return split_views(features, self._pixels)


def split_views(features: Tensor, pixels: PixelSpec) -> Tensor:
    """Turn `(looks * n, width)` features into `(n, looks, width)`."""
    # Written so that no number of crops is a constant when the computation is traced.
    return features.view(1 + pixels.mirror, -1, features.shape[1]).transpose(0, 1)


def check_numbers(tensors: Iterable[NDArray[np.generic]], source: object) -> None:
    """Raise InvalidBundle if weights are NaN or infinite: whoever reads them, the file is damaged.

    A single number may be infinite: some networks clip to such a bound.
    """
    for tensor in tensors:
        if tensor.dtype.kind != "f":
            continue
        good = np.isfinite(tensor) if tensor.size > 1 else ~np.isnan(tensor)
        if not good.all():
            raise InvalidBundle(
                f"{source} holds weights that are not numbers (NaN or infinite): the file is "
                "damaged. Copy it again, or install what it came with again."
            )


def weights_of(network: nn.Module) -> Iterator[NDArray[np.generic]]:
    """Return a network's weights, float32."""
    return (p.detach().float().cpu().numpy() for p in network.parameters())


def digest(network: nn.Module) -> bytes:
    """Return the SHA-256 of a network's weights, whatever their names and order.

    Names change between library versions and shards change the order; the numbers are what
    makes two vectors comparable.
    """
    return digest_of(weights_of(network))


def digest_of(tensors: Iterable[NDArray[np.generic]]) -> bytes:
    """Return the SHA-256 of these tensors, whatever their order."""
    parts = sorted(
        hashlib.sha256(str(tuple(tensor.shape)).encode() + tensor.tobytes()).digest()
        for tensor in tensors
    )
    return hashlib.sha256(b"".join(parts)).digest()
