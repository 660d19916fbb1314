"""Lay out a few hundred vectors on a plane with exact t-SNE, so that neighbours stay neighbours.

`models.evaluation.face_map` lays out thousands of vectors, but needs scikit-learn, which the
service does not install.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The cost of a step grows with the square of the vectors; 500 vectors take a few seconds.
MOST_VECTORS = 500
_FEW = 10
_STEPS = 350
# In the first steps a stronger attraction forms the clusters; later steps shape them.
_EXAGGERATED_STEPS = 100
_EXAGGERATION = 8.0
_BISECTIONS = 40

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold `points` `(n, 2)` float32; `complete` is false if the caller stopped the layout."""

    points: Floats
    complete: bool


def lay_out(vectors: Floats, go_on: Callable[[], bool] = lambda: True) -> Layout:
    """Lay out unit vectors `(n, d)` by t-SNE (van der Maaten and Hinton 2008) over cosines.

    The same vectors always give the same map. `go_on` is called before every step; if it returns
    false, the layout stops. Fewer than 10 vectors are placed by their principal components.
    """
    points = _principal(vectors)
    if len(vectors) < _FEW:
        return Layout(points, True)
    target = _affinities(1 - (vectors @ vectors.T).astype(np.float64)).astype(np.float32)
    points = (points * (1e-4 / max(points.std(), 1e-12))).astype(np.float32)
    speed, gains = np.zeros_like(points), np.ones_like(points)
    rate = max(len(vectors) / _EXAGGERATION / 4, 10.0)
    for step in range(_STEPS):
        if not go_on():
            return Layout(points, False)
        early = step < _EXAGGERATED_STEPS
        slope = _slope(points, target * _EXAGGERATION if early else target)
        # Jacobs' delta-bar-delta: a coordinate whose gradient keeps its sign moves faster.
        gains = np.where(slope * speed < 0, gains + 0.2, np.maximum(gains * 0.8, 0.01))
        speed = (0.5 if early else 0.8) * speed - rate * gains * slope
        points = points + speed
    return Layout(points - points.mean(axis=0), True)


def _principal(vectors: Floats) -> Floats:
    """Return the first two principal components, `(n, 2)`."""
    if len(vectors) == 0:
        return np.zeros((0, 2), np.float32)
    left, scale, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    points = np.zeros((len(vectors), 2), np.float32)
    count = min(2, len(scale))
    points[:, :count] = left[:, :count] * scale[:count]
    return points


def _affinities(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return joint probabilities `(n, n)` that two vectors are neighbours.

    Bisection finds the width of each neighbourhood, so that all have the same perplexity.
    """
    count = len(distances)
    target = np.log(min(30.0, (count - 1) / 3))
    # Less the distance to the nearest vector, so that no weight underflows; ratios stay the same.
    distances = distances + np.diag(np.full(count, np.inf))
    distances -= distances.min(axis=1, keepdims=True)
    np.fill_diagonal(distances, 0)
    low, high = np.zeros((count, 1)), np.full((count, 1), np.inf)
    sharpness = np.ones((count, 1))
    for _ in range(_BISECTIONS):
        near = np.exp(-sharpness * distances)
        np.fill_diagonal(near, 0)
        total = near.sum(axis=1, keepdims=True)
        entropy = np.log(total) + sharpness * (near * distances).sum(axis=1, keepdims=True) / total
        wide = entropy > target
        low, high = np.where(wide, sharpness, low), np.where(wide, high, sharpness)
        sharpness = np.where(np.isinf(high), sharpness * 2, (low + high) / 2)
    near /= total
    return np.asarray(np.maximum((near + near.T) / (2 * count), 1e-12))


def _slope(points: Floats, target: Floats) -> Floats:
    """Return the gradient of the Kullback-Leibler divergence, `(n, 2)`."""
    squares = (points**2).sum(axis=1)
    kernel = 1 / (1 + np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    np.fill_diagonal(kernel, 0)
    pull = (target - kernel / kernel.sum()) * kernel
    return np.asarray(4 * (pull.sum(axis=1)[:, None] * points - pull @ points))
