import numpy as np
import pytest

from models.evaluation.comparisons import (
    NOT_ENROLLED,
    Comparisons,
    all_pairs,
    cosines,
    halves,
    subset,
)
from models.evaluation.rates import fnmr_at


def test_cosines_do_not_depend_on_blocks_or_order() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20, 4)).astype(np.float32)
    a, b = random.integers(0, 20, (2, 50))
    expected = np.sum(vectors[a] * vectors[b], 1)
    np.testing.assert_allclose(cosines(vectors, a, b, rows=7), expected, rtol=1e-5)


def test_every_photo_is_compared_with_every_other() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    every = all_pairs(vectors, np.array([0, 0, 1]), np.ones(3, bool))
    np.testing.assert_allclose(every.genuine, [0.6])
    np.testing.assert_allclose(every.impostor, [0, 0.8])


@pytest.fixture
def partly_enrolled() -> Comparisons:
    """Compare two photos of person 0 with two of person 1, one of which was not enrolled."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    return all_pairs(vectors, np.array([0, 0, 1, 1]), np.array([True, True, True, False]))


def test_whoever_is_not_enrolled_is_not_recognised(partly_enrolled: Comparisons) -> None:
    assert sorted(partly_enrolled.genuine.tolist()) == [NOT_ENROLLED, 1]
    assert fnmr_at(partly_enrolled.genuine, 0.5) == 1 / 2


def test_a_photo_that_is_not_enrolled_is_no_impostor(partly_enrolled: Comparisons) -> None:
    assert partly_enrolled.impostor.tolist() == [0, 0]


def test_halves_of_the_people_share_no_person() -> None:
    people = np.repeat(np.arange(50), 3)
    vectors = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
    comparisons = all_pairs(vectors, people, np.ones(150, bool))
    sides = [{*side.first.tolist(), *side.second.tolist()} for side in halves(comparisons)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 50


def test_a_subset_keeps_scores_people_and_photos_together() -> None:
    vectors = np.eye(4, dtype=np.float32)
    every = all_pairs(vectors, np.array([0, 0, 1, 1]), np.ones(4, bool))
    part = subset(every, every.same)
    assert part.photos.tolist() == [[0, 1], [2, 3]]
    assert part.first.tolist() == part.second.tolist() == [0, 1]
