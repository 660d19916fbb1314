"""Train a head on the cached features of a frozen encoder."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.embedder import unit_vectors
from models.encoder.head import Head
from models.training.options import Options


@dataclass(frozen=True, slots=True)
class Features:
    """Hold the features `(n, views, w)` of each part of a split."""

    train: NDArray[np.float32]
    held_out: NDArray[np.float32]
    validation: NDArray[np.float32]


class HeadLearner:
    """Train a head on one view of each photo, and evaluate it on the sum of both views.

    The service sums the views, too. Training begins with the head `start`, or with random
    weights.
    """

    def __init__(self, features: Features, options: Options, start: Head | None = None) -> None:
        torch.manual_seed(options.seed)
        raw = torch.from_numpy(features.train)
        views = raw.flatten(0, 1)
        # Some of CLIP's features are a hundred times larger than others.
        self._mean, self._deviation = views.mean(0), views.std(0).clamp(min=1e-6)
        self._features = (raw - self._mean) / self._deviation
        self._held_out = torch.from_numpy(features.held_out)
        self._validation = torch.from_numpy(features.validation)
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
        return unit_vectors(head, self._held_out), unit_vectors(head, self._validation)

    def head(self) -> Head:
        """Return the trained head, for features as the encoder gives them."""
        return fold_scale(self._head, self._mean, self._deviation)


def fold_scale(head: Head, mean: Tensor, deviation: Tensor) -> Head:
    """Convert a head for standardised features to an equal head for raw features."""
    copy, first = _copy(head)
    first.weight.div_(deviation)
    first.bias.sub_(functional.linear(mean, first.weight))
    return copy


def unfold_scale(head: Head, mean: Tensor, deviation: Tensor) -> Head:
    """Convert a head for raw features to an equal head for standardised features."""
    copy, first = _copy(head)
    first.bias.add_(functional.linear(mean, first.weight))
    first.weight.mul_(deviation)
    return copy.requires_grad_(True)


def _copy(head: Head) -> tuple[Head, nn.Linear]:
    copy = deepcopy(head).requires_grad_(False).float()
    first = copy.layers[0]
    assert isinstance(first, nn.Linear)
    return copy, first
