"""What an encoder is: normalised pixels to pooled features, frozen."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import InvalidBundle


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
