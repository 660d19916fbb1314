from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.encoder.head import Head, check_fit
from models.errors import InvalidBundle
from tests.checkpoints import tiny_head


def tensors_of(head: Head) -> Mapping[str, Tensor]:
    return head.layers.state_dict()


def test_a_head_is_linear_layers_with_gelu_between_them() -> None:
    head, features = tiny_head(8, 6, 4), torch.randn(3, 8)
    first, last = head.layers[0], head.layers[2]
    assert torch.equal(head(features), last(functional.gelu(first(features))))


@pytest.mark.parametrize("widths", [(8, 4), (8, 6, 4), (8, *[7] * 6, 4)])
def test_a_head_is_rebuilt_from_its_tensors(widths: tuple[int, ...]) -> None:
    head, features = tiny_head(*widths), torch.randn(3, 8)
    assert torch.equal(Head.from_tensors(tensors_of(head))(features), head(features))


def test_the_order_of_the_tensors_does_not_matter() -> None:
    head, features = tiny_head(8, 6, 4), torch.randn(3, 8)
    backwards = dict(reversed(list(tensors_of(head).items())))
    assert torch.equal(Head.from_tensors(backwards)(features), head(features))


def test_half_precision_tensors_become_single_precision() -> None:
    halves = {name: tensor.half() for name, tensor in tensors_of(tiny_head(8, 6, 4)).items()}
    assert Head.from_tensors(halves)(torch.zeros(1, 8)).dtype == torch.float32


def test_a_head_says_what_it_takes_and_gives() -> None:
    head = Head.from_tensors(tensors_of(tiny_head(8, 6, 4)))
    assert (head.width, head.dimension, head.widths) == (8, 4, (8, 6, 4))


@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param({}, id="none"),
        pytest.param({"0.weight": torch.zeros(4)}, id="not a matrix"),
        pytest.param({"0.weight": torch.zeros(4, 8)}, id="no bias"),
        pytest.param({"layers.0.weight": torch.zeros(4, 8)}, id="other names"),
        pytest.param(
            {
                "0.weight": torch.zeros(6, 8),
                "0.bias": torch.zeros(6),
                "2.weight": torch.zeros(4, 7),
                "2.bias": torch.zeros(4),
            },
            id="layers that do not chain",
        ),
        pytest.param(
            {"0.weight": torch.zeros(4, 8), "0.bias": torch.zeros(4), "0.gain": torch.zeros(4)},
            id="one too many",
        ),
    ],
)
def test_tensors_that_form_no_head_are_refused(tensors: Mapping[str, Tensor]) -> None:
    with pytest.raises(InvalidBundle, match=r"head\.safetensors"):
        Head.from_tensors(tensors)


def test_a_head_for_another_encoder_is_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidBundle, match="768 features, but the encoder gives 256"):
        check_fit(Head((768, 128)), 256)


def test_a_head_that_fits_is_taken() -> None:
    check_fit(Head((256, 128)), 256)
