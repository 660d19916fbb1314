"""Intervals from a bootstrap over people."""

import numpy as np
import pytest

from models.evaluation.comparisons import Comparisons
from models.evaluation.rates import Bootstrap, operating_points


def test_intervals_are_wider_where_errors_come_from_few_people() -> None:
    # The same 30 errors in 300 genuine pairs: of one person each, or all of three people.
    people = np.repeat(np.arange(30), 10)
    spread = np.where(np.arange(300) % 10 == 0, 0.0, 1.0)
    crowded = np.where(people < 3, 0.0, 1.0)
    widths = []
    for genuine in (spread, crowded):
        impostor = np.linspace(0, 0.5, 300)
        everything = Comparisons(
            np.concatenate([genuine, impostor]).astype(np.float32),
            np.concatenate([people, people]),
            np.concatenate([people, (people + 1) % 30]),
        )
        (p,) = operating_points(everything, (0.1,))
        widths.append(p.fnmr.high - p.fnmr.low)
    assert widths[1] > 3 * widths[0]


def test_no_error_among_few_people_is_no_proof_of_none() -> None:
    people = np.arange(60)
    impostor, genuine = np.linspace(0, 0.5, 60), np.ones(60)
    everything = Comparisons(
        np.concatenate([impostor, genuine]).astype(np.float32),
        np.concatenate([people, people]),
        np.concatenate([(people + 1) % 60, people]),
    )
    (p,) = operating_points(everything, (0.5,))
    assert (p.fnmr.low, p.fnmr.value, p.fnmr.high) == (0, 0, 3 / 60)


def society(random: np.random.Generator, people: int = 60, photos: int = 5) -> Comparisons:
    """Draw genuine scores of people of whom some are always hard to recognise."""
    hardship = random.normal(0, 1, people)
    who = np.repeat(np.arange(people), photos)
    genuine = hardship[who] + random.normal(0, 0.3, len(who))
    return Comparisons(genuine.astype(np.float32), who, who)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth = float(np.mean(society(random, people=20_000).scores < -1))
    held = 0
    for _ in range(200):
        rate = Bootstrap(society(random), rounds=400).fnmr(-1)
        held += rate.low <= truth <= rate.high
    assert 0.86 <= held / 200 <= 0.99  # 95 % is what they say; 60 people are few


def test_intervals_as_if_photos_were_independent_would_be_too_narrow() -> None:
    """Five photos each of 60 people say little more than one each of 60."""
    comparisons = society(np.random.default_rng(2))
    rate = Bootstrap(comparisons).fnmr(-1)
    independent = 2 * 1.96 * np.sqrt(rate.value * (1 - rate.value) / len(comparisons.scores))
    assert rate.high - rate.low > 1.5 * independent


def test_an_impostor_comparison_counts_as_often_as_both_people_are_drawn() -> None:
    comparisons = Comparisons(np.array([0.9, 0.1], np.float32), np.array([0, 2]), np.array([1, 3]))
    rate = Bootstrap(comparisons, rounds=4000).fmr(0.5)
    assert rate.value == 1 / 2
    assert (rate.low, rate.high) == (0, 1)


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 1.0])
def test_the_rate_is_what_was_counted(threshold: float) -> None:
    comparisons = society(np.random.default_rng(3))
    counted = float(np.mean(comparisons.scores < threshold))
    assert Bootstrap(comparisons).fnmr(threshold).value == pytest.approx(counted)
