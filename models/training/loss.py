"""Compute losses that pull the vectors of one person together."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.options import LossName

ARCFACE_DEGREES, COSFACE_COSINE = 28.6, 0.35
# Every data set has wrong labels, so the target of a class is less than certain.
_SMOOTHING = 0.05


class IdentityLoss(nn.Module):
    """Compute the loss `(n,)` of vectors `(n, d)` with identities `(n,)`.

    All three losses compare a vector by its cosine with a direction that is learned for each
    identity, and `scale` multiplies the cosines. ArcFace adds a margin, in degrees, to the angle
    to the own identity (Deng et al. 2019). CosFace subtracts a margin from its cosine (Wang et
    al. 2018).
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
        """Set the direction of every identity to the mean of its vectors `(n, d)`.

        With random directions, the first steps would destroy vectors that are already good.
        """
        directions = functional.normalize(vectors)
        means = torch.zeros(int(identities.max()) + 1, vectors.shape[1])
        means = functional.normalize(means.index_add(0, identities, directions))
        if self._margin is None:
            self._directions.copy_(means)
        else:
            self._margin.get_parameter("W").copy_(means.t())

    def cosines(self, vectors: Tensor) -> Tensor:
        """Return the cosine of each vector with each identity, `(n, classes)`."""
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

    loss_type, usual_margin = (
        (ArcFaceLoss, ARCFACE_DEGREES) if name == "arcface" else (CosFaceLoss, COSFACE_COSINE)
    )
    loss: nn.Module = loss_type(
        num_classes=classes,
        embedding_size=dimension,
        margin=usual_margin if margin is None else margin,
        scale=scale,
        reducer=DoNothingReducer(),
    )
    return loss
