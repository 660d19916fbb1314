import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.layout import lay_out


def people(count: int, photos: int, spread: float = 0.05) -> NDArray[np.float32]:
    """Return unit vectors `(count * photos, 64)`, grouped by person."""
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(count, 64)), photos, axis=0) / 8
    vectors += random.normal(0, spread, vectors.shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(("count", "photos"), [(2, 2), (3, 4), (20, 5), (60, 2)])
def test_the_nearest_dot_is_one_of_the_same_person(count: int, photos: int) -> None:
    points = lay_out(people(count, photos)).points
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // photos == np.arange(count * photos) // photos).all()


def test_people_become_clusters_with_gaps_between() -> None:
    points = lay_out(people(10, 10)).points.reshape(10, 10, 2)
    centres = points.mean(axis=1)
    within = np.linalg.norm(points - centres[:, None], axis=2).max()
    between = np.linalg.norm(centres[:, None] - centres, axis=2)
    assert within < between[between > 0].min() / 2


def test_the_same_vectors_give_the_same_map() -> None:
    vectors = people(4, 5)
    np.testing.assert_array_equal(lay_out(vectors).points, lay_out(vectors).points)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_few_vectors_are_laid_out_too(count: int) -> None:
    layout = lay_out(people(9, 1)[:count])
    assert layout.points.shape == (count, 2)
    assert layout.complete


def test_equal_vectors_lie_on_one_another() -> None:
    points = lay_out(np.repeat(people(1, 1), 20, axis=0)).points
    assert np.ptp(points, axis=0).max() < 1e-3


def test_a_layout_that_is_stopped_says_that_it_is_not_complete() -> None:
    turns = iter([True, True, False])
    layout = lay_out(people(4, 5), lambda: next(turns))
    assert not layout.complete
    assert np.isfinite(layout.points).all()
    assert next(turns, None) is None
