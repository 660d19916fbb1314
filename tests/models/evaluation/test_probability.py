import numpy as np
import pytest

from models.decision import Logistic
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons
from models.evaluation.probability import fit_probability


def drawn(distance: float, people: int = 80, seed: int = 0) -> Comparisons:
    """Draw scores of two normal distributions, `distance` deviations apart."""
    random = np.random.default_rng(seed)
    first, second = np.triu_indices(people)
    scores = random.normal(0, 0.1, len(first)) + np.where(first == second, 0.1 * distance, 0)
    more = random.normal(0.1 * distance, 0.1, 20 * people)
    again = np.repeat(np.arange(people), 20)
    return Comparisons(
        np.append(scores, more).astype(np.float32),
        np.append(first, again),
        np.append(second, again),
    )


def fitted(comparisons: Comparisons) -> Logistic:
    probability = fit_probability(comparisons)
    assert probability is not None
    return probability


def test_even_odds_lie_halfway_between_two_equal_distributions() -> None:
    assert fitted(drawn(3.0))(0.15) == pytest.approx(0.5, abs=0.04)


def test_the_slope_is_that_of_the_log_likelihood_ratio() -> None:
    # For two normal distributions with deviation s and distance m it is m / s**2.
    assert fitted(drawn(2.0)).slope == pytest.approx(0.2 / 0.01, rel=0.1)


def test_probability_never_falls_as_similarity_rises() -> None:
    probability = fitted(drawn(2.0))
    values = [probability(similarity) for similarity in np.linspace(-1, 1, 201).tolist()]
    assert values == sorted(values)


def test_odds_are_limited_by_the_number_of_people() -> None:
    probability = fitted(drawn(30.0))
    assert probability(4.0) == pytest.approx(80 / 81)
    assert probability(-1.0) == pytest.approx(1 / 81)


def test_scores_that_separate_cost_little_and_those_that_do_not_a_bit() -> None:
    assert fitted(drawn(30.0)).cllr < 0.05
    assert 0.9 < fitted(drawn(0.5)).cllr < 1


def test_scores_that_say_the_opposite_give_no_probability() -> None:
    assert fit_probability(drawn(-3.0)) is None


def test_a_handful_of_comparisons_gives_no_probability() -> None:
    few = Comparisons(
        np.array([0.9, 0.8, 0.1], np.float32), np.array([0, 1, 0]), np.array([0, 1, 1])
    )
    assert fit_probability(few) is None


def test_photos_that_were_not_enrolled_do_not_matter() -> None:
    known = drawn(2.0)
    people = np.arange(80)
    more = Comparisons(
        np.append(known.scores, np.full(80, NOT_ENROLLED, np.float32)),
        np.append(known.first, people),
        np.append(known.second, people),
    )
    assert fitted(more) == fitted(known)
