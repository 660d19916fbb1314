"""Augment stored crops: windows, small changes of position and size, and changes of colour."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Stored crops are wider than the window of any network, so that a moved window has no black edge.
CROP_SIZE, CROP_MARGIN = 160, 0.20


@dataclass(frozen=True, slots=True)
class Jitter:
    """Hold the limits of random changes: of position and size, and of colour."""

    turn_degrees: float = 7.0
    scale: float = 0.12
    shift: float = 0.06
    recolour: float = 0.3
    grey: float = 0.15
    coarse: float = 0.2
    cover: float = 0.2


def window(crops: Tensor, view: Tensor, size: int, margin: float) -> tuple[Tensor, Tensor]:
    """Cut a window from stored crops `(n, 3, h, w)` by the affine maps `view` `(n, 2, 3)`.

    The maps are in units of the window. Returns the pixels `(n, 3, size, size)` and the maps in
    units of the stored crop.
    """
    extent = extent_of(margin)
    grid = functional.affine_grid(view * extent, [len(crops), 3, size, size], align_corners=False)
    pixels = functional.grid_sample(crops, grid, align_corners=False)
    return pixels, view * extent


def extent_of(margin: float) -> float:
    """Return the side of a window with this margin, in units of the stored crop."""
    return (1 + 2 * margin) / (1 + 2 * CROP_MARGIN)


def random_views(count: int, jitter: Jitter, device: torch.device) -> Tensor:
    """Draw affine maps `(count, 2, 3)` with small rotations, scalings and shifts."""
    angle = torch.empty(count, device=device).uniform_(-1, 1) * np.deg2rad(jitter.turn_degrees)
    scale = 1 + torch.empty(count, device=device).uniform_(-1, 1) * jitter.scale
    shift = torch.empty(count, 2, device=device).uniform_(-1, 1) * 2 * jitter.shift
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([rotation, shift[:, :, None]], 2)


def recolour(pixels: Tensor, jitter: Jitter) -> Tensor:
    """Change brightness, contrast, colour and sharpness at random, and cover a rectangle.

    `pixels` are `(n, 3, side, side)` from 0 to 255.
    """
    n, device = len(pixels), pixels.device

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(n, 1, 1, 1, device=device).uniform_(low, high)

    amount = jitter.recolour
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = (pixels - mean) * draw(1 - amount, 1 + amount) + mean * draw(1 - amount, 1 + amount)
    grey = (draw(0, 1) < jitter.grey).float()
    pixels = torch.lerp(pixels, pixels.mean(1, keepdim=True).expand_as(pixels), grey)
    small = functional.interpolate(pixels, size=48, mode="bilinear", antialias=True)
    coarse = functional.interpolate(small, size=pixels.shape[2:], mode="bilinear")
    pixels = torch.lerp(pixels, coarse, (draw(0, 1) < jitter.coarse).float())
    side = pixels.shape[2]
    at = torch.arange(side, device=device)
    left, top, width, height = (draw(0, side), draw(0, side), draw(8, 40), draw(8, 40))
    covered = (((at - left).abs() < width / 2) & ((at[:, None] - top).abs() < height / 2)) & (
        draw(0, 1) < jitter.cover
    )
    return torch.where(covered, mean, pixels).clamp(0, 255)
