"""Losses over identities: what pulls the vectors of one person together."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

LossName = Literal["cross_entropy", "arcface", "cosface"]

ARCFACE_DEGREES, COSFACE_COSINE = 28.6, 0.35
# Some photos are labelled wrongly in every set: no class is worth all of the certainty.
_SMOOTHING = 0.05


class IdentityLoss(nn.Module):
    """Give the loss `(n,)` of vectors `(n, d)` by identity `(n,)`.

    All three compare the direction of a vector with a direction learned for each identity,
    as verification compares two vectors. `scale` multiplies the cosines. A margin is taken
    off the angle to the own identity (ArcFace, in degrees) or off its cosine (CosFace).
    """

    def __init__(
        self, name: LossName, classes: int, dimension: int, scale: float, margin: float | None
    ) -> None:
        super().__init__()
        self._scale = scale
        self._margin: nn.Module | None = _margin_loss(name, classes, dimension, scale, margin)
        if self._margin is None:
            self._directions = nn.Parameter(torch.randn(classes, dimension))

    def forward(self, vectors: Tensor, identities: Tensor) -> Tensor:
        if self._margin is not None:
            losses: Tensor = self._margin(vectors, identities)["loss"]["losses"]
            return losses
        logits = self._scale * self.cosines(vectors)
        return functional.cross_entropy(
            logits, identities, reduction="none", label_smoothing=_SMOOTHING
        )

    @torch.no_grad()
    def aim(self, vectors: Tensor, identities: Tensor) -> None:
        """Point every identity at the mean of its vectors `(n, d)`, a better start than chance.

        Vectors that are good already would be torn apart on their way to random directions.
        """
        directions = functional.normalize(vectors)
        means = torch.zeros(int(identities.max()) + 1, vectors.shape[1])
        means = functional.normalize(means.index_add(0, identities, directions))
        if self._margin is None:
            self._directions.copy_(means)
        else:
            self._margin.get_parameter("W").copy_(means.t())

    def cosines(self, vectors: Tensor) -> Tensor:
        """Return how near each vector is to each identity, `(n, classes)`."""
        margin = self._margin
        rows = self._directions if margin is None else margin.get_parameter("W").t()
        return functional.linear(functional.normalize(vectors), functional.normalize(rows))


def _margin_loss(
    name: LossName, classes: int, dimension: int, scale: float, margin: float | None
) -> nn.Module | None:
    if name == "cross_entropy":
        return None
    from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
    from pytorch_metric_learning.reducers import DoNothingReducer

    made, usual = (
        (ArcFaceLoss, ARCFACE_DEGREES) if name == "arcface" else (CosFaceLoss, COSFACE_COSINE)
    )
    loss: nn.Module = made(
        num_classes=classes,
        embedding_size=dimension,
        margin=usual if margin is None else margin,
        scale=scale,
        reducer=DoNothingReducer(),
    )
    return loss
