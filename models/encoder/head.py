"""Define the head, a small trained MLP from features to a face vector."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from models.errors import InvalidBundle

_WEIGHT = re.compile(r"\d+\.weight")


class Head(nn.Module):
    """Map features `(n, width)` to vectors `(n, d)`, not yet of unit length."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        layers: list[nn.Module] = []
        for into, out in pairwise(widths):
            layers += [nn.Linear(into, out), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        vectors: Tensor = self.layers(features)
        return vectors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Head":
        """Build a head from its linear layers, named `0.weight`, `0.bias`, `2.weight` and so on.

        Raises InvalidBundle if the tensors do not form an MLP.
        """
        places = sorted(int(key.split(".")[0]) for key in tensors if _WEIGHT.fullmatch(key))
        weights = [tensors[f"{place}.weight"] for place in places]
        if not weights or any(weight.ndim != 2 for weight in weights):
            raise InvalidBundle("head.safetensors contains no linear layers.")
        head = cls([weights[0].shape[1], *(weight.shape[0] for weight in weights)])
        try:
            head.layers.load_state_dict({name: value.float() for name, value in tensors.items()})
        except RuntimeError as exc:
            raise InvalidBundle(f"head.safetensors does not form an MLP: {exc}") from exc
        return head.eval()

    @property
    def width(self) -> int:
        """Return the number of features the head expects."""
        return self.widths[0]

    @property
    def dimension(self) -> int:
        """Return the length of the vectors the head gives."""
        return self.widths[-1]


def check_fit(head: Head, encoder_width: int) -> None:
    """Raise InvalidBundle if the head does not fit the width of the encoder's features."""
    if head.width != encoder_width:
        raise InvalidBundle(
            f"The head expects {head.width} features, but the encoder gives {encoder_width}."
        )
