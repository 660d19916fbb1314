"""The secret rotation keeps cosines and reveals nothing else."""

import numpy as np
import pytest

from service.store.postgres.orthogonal import turn_of

SEED = bytes(range(32))


@pytest.mark.parametrize("dimension", [1, 2, 7, 128])
def test_rotation_keeps_cosines(dimension: int) -> None:
    vectors = np.random.default_rng(1).standard_normal((20, dimension)).astype(np.float32)
    turned = vectors @ turn_of(SEED, dimension).T
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-4)


def test_every_replica_turns_the_same_way() -> None:
    np.testing.assert_array_equal(turn_of(SEED, 128), turn_of(SEED, 128))


def test_rotations_of_two_seeds_are_independent() -> None:
    one, other = turn_of(SEED, 128), turn_of(bytes(32), 128)
    # The cosine of a unit vector under two rotations has a standard deviation of 1/sqrt(128).
    assert abs(float(np.trace(one @ other.T)) / 128) < 5 / 128


def test_directions_are_spread_evenly() -> None:
    entries = turn_of(SEED, 256) * 16
    assert abs(float(entries.mean())) < 0.02
    # A normal distribution has variance 1 and fourth moment 3.
    assert float((entries**4).mean()) == pytest.approx(3.0, abs=0.1)
