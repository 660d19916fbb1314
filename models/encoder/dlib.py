"""Run dlib's face ResNet-29 as a torch module, with the weights from dlib's own file.

dlib computes one descriptor at a time on one core. The same network in torch, batched and with
the affine layers folded into the convolutions, gives the same numbers (to 1e-6 in float32) ten
times as fast, and also runs in bfloat16 and on a GPU.

Architecture: dlib's `dnn_face_recognition_ex.cpp` (after He et al. 2015, with 29 convolutions
and half the filters). File format: dlib's `serialize.h`.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.encoder.encoder import check_numbers, digest, weights_of
from models.errors import InvalidBundle
from models.weights import dlib_file

DLIB_WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
WIDTH = 128

# (filters, kernel, stride) in order: the stem, then residual blocks of two convolutions. The
# first convolution of every later stage halves the resolution.
_PLAN = (
    (32, 7, 2),
    *(((32, 3, 1),) * 6),
    *(
        (filters, 3, 2 if index == 0 else 1)
        for filters, blocks in ((64, 4), (128, 3), (256, 3), (256, 1))
        for index in range(2 * blocks)
    ),
)
_LAYER = re.compile(rb"\x05con_4|\x07affine_|\x04fc_2")


class DlibEncoder:
    """Run dlib's face ResNet; its descriptor is the features."""

    image_size = 150
    width = WIDTH
    architecture = "dlib"

    def __init__(self, network: "DlibResNet") -> None:
        self.network: nn.Module = network.eval().requires_grad_(False)

    @classmethod
    def load(cls) -> "DlibEncoder":
        """Load the weights from the package `face-recognition-models`."""
        network = load_dlib_resnet(dlib_file(DLIB_WEIGHTS))
        check_numbers(weights_of(network), DLIB_WEIGHTS)
        return cls(network)

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights."""
        return digest(self.network)

    def __call__(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return features


class DlibResNet(nn.Module):
    """Map `(n, 3, 150, 150)` normalised pixels to `(n, 128)` descriptors, not unit length."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *(filters for filters, _, _ in _PLAN))
        self.convolutions = nn.ModuleList(
            # dlib pads only convolutions that do not change the resolution.
            nn.Conv2d(into, filters, kernel, stride, padding=kernel // 2 if stride == 1 else 0)
            for into, (filters, kernel, stride) in zip(channels, _PLAN, strict=False)
        )
        self.descriptor = nn.Linear(256, WIDTH, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        stem, *rest = self.convolutions
        x = functional.max_pool2d(functional.relu(stem(pixels)), 3, 2)
        for first, second in zip(rest[::2], rest[1::2], strict=True):
            x = _residual(x, first, second)
        descriptors: Tensor = self.descriptor(x.mean((2, 3)))
        return descriptors


def _residual(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    """Add the input to the block's output; as in dlib, zeros fill up the smaller one."""
    y = second(functional.relu(first(x)))
    if y.shape[2:] != x.shape[2:]:
        x = functional.avg_pool2d(x, 2)
    deeper, wider = y.shape[1] - x.shape[1], x.shape[2] - y.shape[2]
    x = functional.pad(x, (0, max(0, -wider), 0, max(0, -wider), 0, deeper))
    y = functional.pad(y, (0, max(0, wider), 0, max(0, wider)))
    return functional.relu(x + y)


def load_dlib_resnet(path: Path) -> DlibResNet:
    """Build the network from dlib's `.dat` file; raises InvalidBundle for any other file."""
    try:
        layers = _read_layers(path.read_bytes())
    except OSError as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    except (IndexError, ValueError) as exc:
        raise InvalidBundle(f"{path.name} ends too early.") from exc
    if len(layers) != 2 * len(_PLAN) + 1:
        raise InvalidBundle(f"{path.name} is not dlib's face recognition ResNet.")
    network = DlibResNet()
    with torch.no_grad():
        for index, convolution in enumerate(network.convolutions):
            assert isinstance(convolution, nn.Conv2d)
            filters = convolution.out_channels
            values, affine = torch.tensor(layers[2 * index]), torch.tensor(layers[2 * index + 1])
            weight = values[:-filters].view_as(convolution.weight)
            gamma, beta = affine[:filters], affine[filters:]
            weight = weight * gamma.view(-1, 1, 1, 1)
            # Convolutions on CPUs and on tensor cores are fastest with channels last.
            convolution.weight.data = weight.contiguous(memory_format=torch.channels_last)
            assert convolution.bias is not None
            convolution.bias.copy_(values[-filters:] * gamma + beta)
        network.descriptor.weight.copy_(torch.tensor(layers[-1]).view(256, WIDTH).T)
    return network.eval()


def _read_layers(data: bytes) -> list[NDArray[np.float32]]:
    """Return the parameters of the convolution, affine and linear layers in file order."""
    layers, offset = [], 0
    while found := _LAYER.search(data, offset):
        offset = found.end()
        if found.group().endswith(b"fc_2"):
            _, offset = _read_int(data, offset)  # outputs
            _, offset = _read_int(data, offset)  # inputs
        values, offset = _read_tensor(data, offset)
        layers.append(values)
    return layers


def _read_int(data: bytes, offset: int) -> tuple[int, int]:
    """Read a packed integer: a byte with sign and length, then little-endian bytes."""
    length = data[offset] & 0x0F
    end = offset + 1 + length
    return int.from_bytes(data[offset + 1 : end], "little"), end


def _read_tensor(data: bytes, offset: int) -> tuple[NDArray[np.float32], int]:
    """Read a tensor: format version, four dimensions, then float32 values."""
    version, offset = _read_int(data, offset)
    if version != 2:
        raise InvalidBundle(f"A tensor has dlib's format version {version}; only 2 can be read.")
    count = 1
    for _ in range(4):
        size, offset = _read_int(data, offset)
        count *= size
    return np.frombuffer(data, "<f4", count, offset).copy(), offset + 4 * count
