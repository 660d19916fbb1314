"""A head that learns from the cached features of a frozen encoder."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.embedder import unit_vectors
from models.encoder.head import Head
from models.training.loop import Options


@dataclass(frozen=True, slots=True)
class Features:
    """Hold the features `(n, views, w)` of the photos of every part."""

    train: NDArray[np.float32]
    held_out: NDArray[np.float32]
    validation: NDArray[np.float32]


class HeadLearner:
    """Train a head on one view of a photo at a time, and judge it as the service sums them.

    It begins with the head `start`, or afresh.
    """

    def __init__(self, features: Features, options: Options, start: Head | None = None) -> None:
        torch.manual_seed(options.seed)
        raw = torch.from_numpy(features.train)
        views = raw.flatten(0, 1)
        # Some of CLIP's features are a hundred times as large as others.
        self._mean, self._deviation = views.mean(0), views.std(0).clamp(min=1e-6)
        self._features = (raw - self._mean) / self._deviation
        self._judged = [torch.from_numpy(part) for part in (features.held_out, features.validation)]
        self._dropout = options.dropout
        fresh = Head((raw.shape[2], options.hidden, options.dimension))
        self._head = fresh if start is None else unfold_scale(start, self._mean, self._deviation)

    @property
    def module(self) -> nn.Module:
        return self._head

    def vectors(self, places: Tensor, random: torch.Generator) -> Tensor:
        view = torch.randint(self._features.shape[1], (len(places),), generator=random)
        features = functional.dropout(self._features[places, view], self._dropout)
        vectors: Tensor = self._head(features)
        return vectors

    def evaluation_vectors(self) -> tuple[Tensor, Tensor]:
        head = self.head()
        held_out, validation = (unit_vectors(head, features) for features in self._judged)
        return held_out, validation

    def head(self) -> Head:
        """Return the head for features as the encoder gives them."""
        return fold_scale(self._head, self._mean, self._deviation)


def fold_scale(head: Head, mean: Tensor, deviation: Tensor) -> Head:
    """Return a head for raw features that does what `head` does for standardised ones."""
    made, first = _copied(head)
    first.weight.div_(deviation)
    first.bias.sub_(functional.linear(mean, first.weight))
    return made


def unfold_scale(head: Head, mean: Tensor, deviation: Tensor) -> Head:
    """Return a head for standardised features that does what `head` does for raw ones."""
    made, first = _copied(head)
    first.bias.add_(functional.linear(mean, first.weight))
    first.weight.mul_(deviation)
    return made.requires_grad_(True)


def _copied(head: Head) -> tuple[Head, nn.Linear]:
    made = deepcopy(head).requires_grad_(False).float()
    first = made.layers[0]
    assert isinstance(first, nn.Linear)
    return made, first
