"""Each face of a cohort is the mean of many people, and no person counts twice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.cohort import Cohort
from models.errors import LikenessError
from models.evaluation.conditions import Captures
from models.training.cohort import FEWEST_PEOPLE, build_cohort, one_photo_each

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.float64]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def crowd(people: int, seed: int = 0, width: int = 32) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(people, width)))


def captures(plain: Vectors, blurred: Vectors | None = None) -> Captures:
    return Captures(plain, {} if blurred is None else {"blurred": blurred}, {})


def test_every_face_is_of_many_people() -> None:
    plain = crowd(400)
    cohort = build_cohort(captures(plain))
    belongs = np.argmax(plain @ cohort.faces.T, axis=1)
    assert np.bincount(belongs).min() >= FEWEST_PEOPLE // 2
    # A mean of eight or more people is like none of them; a single person would give a cosine of 1.
    assert (plain @ cohort.faces.T).max() < 0.95
    np.testing.assert_allclose(np.linalg.norm(cohort.faces, axis=1), 1, rtol=1e-5)


def test_degraded_faces_are_part_of_it() -> None:
    plain = crowd(400)
    common = np.zeros(32)
    common[0] = 4
    blurred = unit(plain + common)
    cohort = build_cohort(captures(plain, blurred=blurred))
    strangers = crowd(200, seed=5)
    degraded = unit(strangers + common)
    means = cohort.means(degraded)
    scores = degraded @ degraded.T - (means[:, None] + means) / 2
    off = ~np.eye(len(degraded), dtype=bool)
    plainly = cohort.means(strangers)
    usual = strangers @ strangers.T - (plainly[:, None] + plainly) / 2
    # Their cosines are near 1, but their scores are like those of other strangers.
    assert (degraded @ degraded.T)[off].mean() > 0.9
    assert abs(scores[off].mean() - usual[off].mean()) < 0.3


def test_other_photos_of_one_person_are_left_out() -> None:
    people = crowd(300, width=128)
    again = unit(people[:50] + 0.2 * crowd(50, seed=3, width=128))
    vectors = np.concatenate([people, again])
    kept = one_photo_each(vectors, Cohort(crowd(20, seed=7, width=128), 5))
    assert set(kept.tolist()) == set(range(300))


def test_too_few_people_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(LikenessError, match=r"too few for a cohort.*thousand"):
        build_cohort(captures(crowd(12)))


def test_photos_without_a_face_take_no_part() -> None:
    plain = crowd(400)
    plain[::2] = 0
    assert np.isfinite(build_cohort(captures(plain)).faces).all()
