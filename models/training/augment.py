"""Look at stored crops as teacher and student do: windows, small jitters, other light."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Crops are stored wider than anyone looks at them, so that a jittered view has no black edge.
CROP_SIZE, CROP_MARGIN = 160, 0.20


@dataclass(frozen=True, slots=True)
class Jitter:
    """Hold how far a student's view may stray from the plain one."""

    turn_degrees: float = 7.0
    scale: float = 0.12
    shift: float = 0.06
    recolour: float = 0.3
    grey: float = 0.15
    coarse: float = 0.2
    cover: float = 0.2


def window(crops: Tensor, view: Tensor, size: int, margin: float) -> tuple[Tensor, Tensor]:
    """Look at stored crops through `view`, `(n, 2, 3)` in units of the wanted window.

    Returns the pixels `(n, 3, size, size)` and the map used, in units of the stored crop.
    """
    extent = extent_of(margin)
    grid = functional.affine_grid(view * extent, [len(crops), 3, size, size], align_corners=False)
    pixels = functional.grid_sample(crops, grid, align_corners=False)
    return pixels, view * extent


def extent_of(margin: float) -> float:
    """Return the side of a window of this margin in units of the stored crop."""
    return (1 + 2 * margin) / (1 + 2 * CROP_MARGIN)


def random_views(count: int, jitter: Jitter, device: torch.device) -> Tensor:
    """Draw `(count, 2, 3)` small rotations, scalings and shifts."""
    angle = torch.empty(count, device=device).uniform_(-1, 1) * np.deg2rad(jitter.turn_degrees)
    scale = 1 + torch.empty(count, device=device).uniform_(-1, 1) * jitter.scale
    shift = torch.empty(count, 2, device=device).uniform_(-1, 1) * 2 * jitter.shift
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([rotation, shift[:, :, None]], 2)


def recolour(pixels: Tensor, jitter: Jitter) -> Tensor:
    """Change brightness, contrast, colour and sharpness, and cover a rectangle; 0 to 255."""
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
