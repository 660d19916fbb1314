"""Frozen encoders: normalised pixels to pooled features."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel
from transformers.utils import logging as transformers_logging

from models.detectors import model_file
from models.dlib_resnet import DLIB_WEIGHTS, WIDTH, DlibResNet, load_dlib_resnet
from models.errors import InvalidBundle


class Encoder(Protocol):
    """Map `(n, 3, size, size)` normalised pixels to `(n, width)` features, frozen.

    `image_size` is what the network was built for; `network` holds its weights.
    """

    @property
    def width(self) -> int: ...

    @property
    def image_size(self) -> int: ...

    @property
    def network(self) -> nn.Module: ...

    def __call__(self, pixels: Tensor) -> Tensor: ...


class ClipEncoder:
    """Encode with the vision half of a CLIP checkpoint; features are its `pooler_output`."""

    def __init__(self, network: CLIPVisionModel) -> None:
        self.network: nn.Module = network.eval().requires_grad_(False)
        self.width: int = network.config.hidden_size
        self.image_size: int = network.config.image_size

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None) -> "ClipEncoder":
        """Load a local directory or a hub id, vision-only or a full CLIP with its text tower.

        Only safetensors are read, in one file or in shards. Raises InvalidBundle if the files
        are missing, are not CLIP's, or leave any weight of the vision tower unset.
        """
        try:
            with _quiet_transformers():
                network, report = CLIPVisionModel.from_pretrained(
                    source,
                    revision=revision or "main",
                    use_safetensors=True,
                    dtype="auto",
                    output_loading_info=True,
                )
        except (OSError, ValueError, KeyError, RuntimeError) as exc:
            raise InvalidBundle(
                f"No CLIP vision encoder could be loaded from `{source}`: "
                f"{str(exc).splitlines()[0] if str(exc) else type(exc).__name__}"
            ) from exc
        missing = sorted(report["missing_keys"])
        if missing:
            raise InvalidBundle(
                f"`{source}` lacks {len(missing)} weights of a CLIP vision encoder, "
                f"the first being {missing[0]}."
            )
        return cls(network)

    def __call__(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixel_values=pixels).pooler_output
        return features


class DlibEncoder:
    """Encode with dlib's face ResNet; features are its descriptor."""

    image_size = 150
    width = WIDTH

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


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep the loading bar and the list of the text tower's unused weights off the terminal."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
