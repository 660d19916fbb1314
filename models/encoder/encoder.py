"""Define what an encoder is, and what an engine that runs it is.

An encoder turns normalised pixels into features, and its weights never change. An engine turns
uint8 crops into the features of their views: the crop and, for some bundles, its mirror image.
"""

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

    `image_size` is the side of its images, in pixels. `architecture` describes what determines
    the features besides the weights.
    """

    @property
    def width(self) -> int: ...

    @property
    def image_size(self) -> int: ...

    @property
    def architecture(self) -> str: ...

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights, which depends on neither their names nor order."""


@runtime_checkable
class TorchEncoder(Encoder, Protocol):
    """Add to an encoder that it is a torch module; a call returns its features."""

    @property
    def network(self) -> nn.Module: ...

    def __call__(self, pixels: Tensor) -> Tensor: ...


class Engine(Protocol):
    """Map `(n, 3, size, size)` uint8 crops to `(n, views, width)` float32 features.

    There is one view of a crop, or two if the bundle adds the mirror image. An engine is called
    from one thread at a time.
    """

    @property
    def name(self) -> EngineName: ...

    def __call__(self, crops: Tensor) -> Tensor: ...


class FeatureNetwork(nn.Module):
    """Compute in torch all that an engine computes; other engines translate this module."""

    def __init__(self, encoder: TorchEncoder, pixels: PixelSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = encoder.network.to(dtype)
        self._encoder = encoder
        self._pixels = pixels
        self._dtype = dtype

    def forward(self, crops: Tensor) -> Tensor:
        """Return `(n, views, width)` float32 features of `(n, 3, size, size)` uint8 crops."""
        pixels = encoder_pixels(crops.to(self._dtype), self._pixels)
        features: Tensor = self._encoder(pixels).float()
        return split_views(features, self._pixels)


def split_views(features: Tensor, pixels: PixelSpec) -> Tensor:
    """Turn features `(views * n, width)` into `(n, views, width)`."""
    # The number of crops must not become a constant when the computation is traced.
    return features.view(1 + pixels.mirror, -1, features.shape[1]).transpose(0, 1)


def check_numbers(tensors: Iterable[NDArray[np.generic]], source: object) -> None:
    """Raise InvalidBundle if the weights from `source` contain NaN or infinite numbers.

    A tensor of one number may be infinite, because some networks clip to such a limit.
    """
    for tensor in tensors:
        if tensor.dtype.kind != "f":
            continue
        good = np.isfinite(tensor) if tensor.size > 1 else ~np.isnan(tensor)
        if not good.all():
            raise InvalidBundle(
                f"{source} contains weights that are not finite numbers: the file is damaged. Copy "
                "it again, or install the package that it comes with again."
            )


def weights_of(network: nn.Module) -> Iterator[NDArray[np.generic]]:
    """Return the weights of a network as float32."""
    return (p.detach().float().cpu().numpy() for p in network.parameters())


def digest(network: nn.Module) -> bytes:
    """Return the SHA-256 of a network's weights, which depends on neither their names nor order.

    Names change between versions of a library, and the order depends on the files. Only the
    numbers determine the vectors.
    """
    return digest_of(weights_of(network))


def digest_of(tensors: Iterable[NDArray[np.generic]]) -> bytes:
    """Return the SHA-256 of tensors, which does not depend on their order."""
    parts = sorted(
        hashlib.sha256(str(tuple(tensor.shape)).encode() + tensor.tobytes()).digest()
        for tensor in tensors
    )
    return hashlib.sha256(b"".join(parts)).digest()
