"""The cohort: scores that take into account how much a face resembles other faces."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.cohort import COHORT_FILE, NO_COHORT, Cohort, index_query, read_cohort, write_cohort
from models.errors import InvalidBundle

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.float64]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def drawn(count: int, seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, 16)))


@pytest.fixture
def cohort() -> Cohort:
    return Cohort(drawn(30), 5)


def test_mean_is_that_of_the_nearest_faces(cohort: Cohort) -> None:
    (vector,) = drawn(1, seed=1)
    by_hand = np.sort(cohort.faces @ vector)[-5:].mean()
    assert cohort.mean(vector) == pytest.approx(by_hand, abs=1e-6)


def test_many_vectors_have_the_means_of_each(cohort: Cohort) -> None:
    vectors = drawn(5000, seed=2)
    means = cohort.means(vectors)
    assert means[[0, 4095, 4096, 4999]].tolist() == pytest.approx(
        [cohort.mean(vectors[at]) for at in (0, 4095, 4096, 4999)], abs=1e-6
    )


def test_without_a_cohort_nothing_is_subtracted() -> None:
    assert NO_COHORT.means(drawn(3)).tolist() == [0, 0, 0]
    assert NO_COHORT.digest == ""


def test_an_index_of_placed_vectors_gives_the_score(cohort: Cohort) -> None:
    probe, reference = drawn(2, seed=3)
    means = cohort.mean(probe), cohort.mean(reference)
    product = float(cohort.index_rows(reference[None])[0] @ index_query(probe))
    score = float(probe @ reference) - sum(means) / 2
    assert product - means[0] / 2 == pytest.approx(score, abs=1e-6)


def test_digest_changes_with_the_faces_and_with_how_many_count(cohort: Cohort) -> None:
    others = [Cohort(cohort.faces, 6), Cohort(drawn(30, seed=9), 5)]
    assert len({cohort.digest, *(other.digest for other in others)}) == 3


def test_written_cohort_reads_back(cohort: Cohort, tmp_path: Path) -> None:
    card = write_cohort(tmp_path, cohort, "drawn at random")
    held = read_cohort(tmp_path, card, 16)
    assert (held.digest, card.faces, card.nearest) == (cohort.digest, 30, 5)
    assert (tmp_path / COHORT_FILE).stat().st_mode & 0o044 == 0o044


def test_another_cohort_than_the_manifest_names_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    card = write_cohort(tmp_path, cohort, "drawn at random")
    write_cohort(tmp_path, Cohort(drawn(30, seed=9), 5), "others")
    with pytest.raises(InvalidBundle, match="not the cohort that"):
        read_cohort(tmp_path, card, 16)


def test_cohort_of_another_width_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    card = write_cohort(tmp_path, cohort, "drawn at random")
    with pytest.raises(InvalidBundle, match="16 numbers"):
        read_cohort(tmp_path, card, 17)


@pytest.mark.parametrize("data", [None, b"", b"no tensors"], ids=["missing", "empty", "damaged"])
def test_cohort_that_cannot_be_read_is_refused(
    cohort: Cohort, tmp_path: Path, data: bytes | None
) -> None:
    card = write_cohort(tmp_path, cohort, "drawn at random")
    path = tmp_path / COHORT_FILE
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(InvalidBundle, match="cannot be read"):
        read_cohort(tmp_path, card, 16)


def test_more_faces_may_not_count_than_there_are(cohort: Cohort, tmp_path: Path) -> None:
    card = write_cohort(tmp_path, replace(cohort, nearest=31), "drawn at random")
    with pytest.raises(InvalidBundle):
        read_cohort(tmp_path, card, 16)
