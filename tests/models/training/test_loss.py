from typing import get_args

import pytest
import torch
from torch.nn import functional

from models.training.loss import IdentityLoss
from models.training.options import LossName

NAMES: tuple[LossName, ...] = get_args(LossName)


def loss_of(name: LossName, margin: float | None = None) -> IdentityLoss:
    torch.manual_seed(0)
    return IdentityLoss(name, 5, 8, 16.0, margin)


def vectors() -> torch.Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


IDENTITIES = torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_loss_for_every_photo(name: LossName) -> None:
    assert loss_of(name)(vectors(), IDENTITIES).shape == (6,)


@pytest.mark.parametrize("name", NAMES)
def test_the_length_of_a_vector_does_not_matter(name: LossName) -> None:
    loss = loss_of(name)
    torch.testing.assert_close(loss(vectors(), IDENTITIES), loss(7 * vectors(), IDENTITIES))


@pytest.mark.parametrize("name", NAMES)
def test_steps_down_the_loss_turn_vectors_towards_their_identity(name: LossName) -> None:
    loss = loss_of(name)
    learned = vectors().requires_grad_()
    optimizer = torch.optim.Adam([learned, *loss.parameters()], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss(learned, IDENTITIES).mean().backward()
        optimizer.step()
    assert loss.cosines(learned).argmax(1).tolist() == IDENTITIES.tolist()


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_a_margin_makes_the_same_vectors_cost_more(name: LossName) -> None:
    with_margin, without = loss_of(name), loss_of(name, margin=0.0)
    assert (with_margin(vectors(), IDENTITIES) > without(vectors(), IDENTITIES)).all()


def test_cross_entropy_is_that_of_scaled_cosines() -> None:
    loss = loss_of("cross_entropy")
    expected = functional.cross_entropy(
        16.0 * loss.cosines(vectors()), IDENTITIES, reduction="none", label_smoothing=0.05
    )
    torch.testing.assert_close(loss(vectors(), IDENTITIES), expected)


@pytest.mark.parametrize("name", NAMES)
def test_aimed_directions_are_the_means_of_the_vectors(name: LossName) -> None:
    loss = loss_of(name)
    loss.aim(vectors(), IDENTITIES)
    directions = functional.normalize(vectors())
    alone = loss.cosines(vectors())[1, 1]
    both = loss.cosines(directions[[0, 5]].mean(0, keepdim=True))[0, 0]
    torch.testing.assert_close(torch.stack([alone, both]), torch.ones(2))
