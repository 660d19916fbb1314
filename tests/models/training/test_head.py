import numpy as np
import torch

from models.encoder.head import Head
from models.training.head import Features, HeadLearner, fold_scale, unfold_scale
from models.training.options import Options


def test_a_folded_head_does_to_raw_features_what_the_other_does_to_standardised() -> None:
    torch.manual_seed(0)
    head = Head((5, 8, 3))
    mean, deviation = torch.randn(5), torch.rand(5) + 0.5
    raw = torch.randn(10, 5)
    torch.testing.assert_close(
        fold_scale(head, mean, deviation)(raw), head((raw - mean) / deviation)
    )


def test_unfolding_undoes_folding() -> None:
    head = Head((5, 8, 3))
    mean, deviation, raw = torch.randn(5), torch.rand(5) + 0.5, torch.randn(10, 5)
    there = fold_scale(head, mean, deviation)
    torch.testing.assert_close(unfold_scale(there, mean, deviation)(raw), head(raw))


def test_folding_leaves_the_head_that_is_trained_as_it_is() -> None:
    head = Head((5, 8, 3))
    before = [weight.clone() for weight in head.parameters()]
    fold_scale(head, torch.ones(5), torch.full((5,), 2.0))
    for weight, was in zip(head.parameters(), before, strict=True):
        torch.testing.assert_close(weight, was)


def test_one_large_feature_does_not_drown_the_others() -> None:
    features = np.random.default_rng(0).normal(size=(50, 2, 6)).astype(np.float32)
    features[:, :, 0] = 1000 + 300 * features[:, :, 0]
    learner = HeadLearner(Features(features, features, features), Options(dropout=0.0))
    vectors = learner.vectors(torch.arange(50), torch.Generator())
    spread = torch.nn.functional.normalize(vectors) @ torch.nn.functional.normalize(vectors).T
    assert spread.detach().min() < 0.5
