"""Errors after rejecting photos, counted by hand."""

import numpy as np
import pytest

from models.evaluation.comparisons import Comparisons
from models.evaluation.reject import SHARES, reject_rates


def comparisons() -> Comparisons:
    """Return 100 people with two photos each; those of the first ten are not recognised."""
    people = np.arange(100)
    scores = np.where(people < 10, 0.1, 0.9).astype(np.float32)
    return Comparisons(scores, people, people, np.stack([2 * people, 2 * people + 1], 1))


def test_perfect_qualities_leave_no_errors() -> None:
    qualities = np.where(np.arange(200) < 20, 0.1, 0.9).astype(np.float32)
    rates = {row.share: row.fnmr for row in reject_rates(comparisons(), qualities, 0.5)}
    assert rates[0.0] == pytest.approx(0.1)
    assert rates[0.05] == pytest.approx(5 / 95)
    assert rates[0.1] == 0


def test_random_qualities_leave_the_rate_as_it_is() -> None:
    qualities = np.random.default_rng(0).random(200).astype(np.float32)
    rates = [row.fnmr for row in reject_rates(comparisons(), qualities, 0.5)]
    assert len(rates) == len(SHARES)
    assert all(0.05 < rate < 0.15 for rate in rates)
