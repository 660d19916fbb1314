"""Turn crops into the pixels that an encoder expects; training and serving share this code."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.photo.face import Framing, TemplateName

Triple = tuple[float, float, float]

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """Say how a face becomes the encoder's pixels; part of a bundle's fingerprint.

    `size` is the side of the crop in pixels. `template` names where the landmarks lie in the crop,
    and `margin` is added to every side of the template's unit square, in its units. `mean` and
    `std` apply to colours of 0 to 1, one number a channel, in the order of `channels`. With
    `mirror`, the features of a crop and of its mirror image are summed.
    """

    size: int
    margin: float
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD
    mirror: bool = False
    channels: Literal["rgb", "bgr"] = "rgb"
    template: TemplateName = "dlib"

    @property
    def framing(self) -> Framing:
        """Return how the crop is cut: the part that detection and alignment need."""
        return Framing(self.size, self.margin, self.template)

    def as_dict(self) -> dict[str, object]:
        """Return the fields for the fingerprint.

        `channels` and `template` are left out if they have their defaults: older bundles did not
        have these fields, and must keep their fingerprints.
        """
        fields = asdict(self)
        if self.channels == "rgb":
            del fields["channels"]
        if self.template == "dlib":
            del fields["template"]
        return fields


def stack(crops: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Stack crops `(size, size, 3)` into `(n, 3, size, size)` uint8, channels last in memory."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def standardise(pixels: Tensor, mean: Triple, std: Triple) -> Tensor:
    """Standardise float pixels `(n, 3, h, w)` of 0 to 255.

    This runs on the device of the pixels, so that they travel to a GPU as uint8.
    """
    # (x / 255 - mean) / std as one multiplication and one addition.
    scale = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).mul(255).reciprocal()
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=pixels.dtype)
    return torch.addcmul(shift.to(pixels.device).view(1, 3, 1, 1), pixels, scale.view(1, 3, 1, 1))


def encoder_pixels(crops: Tensor, spec: PixelSpec) -> Tensor:
    """Turn float crops `(n, 3, size, size)`, 0 to 255 RGB, into the encoder's pixels.

    With `mirror` the result has `2 n` rows: all crops, then all their mirror images.
    """
    ordered = crops.flip(1) if spec.channels == "bgr" else crops
    pixels = standardise(ordered, spec.mean, spec.std)
    return torch.cat([pixels, pixels.flip(3)]) if spec.mirror else pixels
