"""Quarter turns of an image, anticlockwise, and where its points were before them."""

import numpy as np
from numpy.typing import NDArray


def turned(pixels: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Return `(h, w, 3)` turned."""
    return pixels if turns == 0 else np.ascontiguousarray(np.rot90(pixels, turns))


def turned_back(
    points: NDArray[np.float64], turns: int, width: float, height: float
) -> NDArray[np.float64]:
    """Map `(n, 2)` points from a turned image of `(height, width)` to what it was before."""
    for _ in range(turns):
        # Undoing one anticlockwise turn is a clockwise turn.
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        width, height = height, width
    return points
