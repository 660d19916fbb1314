"""From crop to what the encoder sees: one source of mean, standard deviation, size and margin."""

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
# dlib subtracts a mean colour and divides by 256; here in the unit range.
DLIB_MEAN: Triple = (122.782 / 255, 117.001 / 255, 104.298 / 255)
DLIB_STD: Triple = (256 / 255, 256 / 255, 256 / 255)


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """Say how a face becomes the encoder's pixels; part of a bundle's fingerprint.

    `size` in pixels; `template` names where the landmarks lie in the crop, and `margin` is
    added on every side of that template's unit square, in its units; `mean` and `std` per
    channel of the range 0 to 1, in the order of `channels`; with `mirror` the features of a
    crop and of its mirror image are summed.
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
        """Return how the crop is cut, which is all that detection and alignment need."""
        return Framing(self.size, self.margin, self.template)

    def as_dict(self) -> dict[str, object]:
        """Return the fields for hashing.

        `channels` and `template` are left out where they are what they were before they could
        be chosen, so that galleries of that time keep their fingerprints.
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
    """Turn float pixels 0 to 255, `(n, 3, h, w)`, into the encoder's own units.

    Runs where the pixels are, so that a quarter of the bytes travels to a GPU.
    """
    # (x / 255 - mean) / std as one multiplication and one addition.
    scale = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).mul(255).reciprocal()
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=pixels.dtype)
    return torch.addcmul(shift.to(pixels.device).view(1, 3, 1, 1), pixels, scale.view(1, 3, 1, 1))


def encoder_pixels(crops: Tensor, spec: PixelSpec) -> Tensor:
    """Turn float crops `(n, 3, size, size)`, 0 to 255 RGB, into what the encoder sees.

    With `mirror` there are `2 n`: all crops, then all their mirror images.
    """
    ordered = crops.flip(1) if spec.channels == "bgr" else crops
    pixels = standardise(ordered, spec.mean, spec.std)
    return torch.cat([pixels, pixels.flip(3)]) if spec.mirror else pixels
