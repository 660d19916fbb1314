"""The store's contract: scores by a cohort."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from models.cohort import NO_COHORT, Cohort
from service.store import Store, Vault, open_store
from tests.contracts.store.samples import (
    FINGERPRINT,
    Clock,
    assert_search_agrees,
    axis,
    cohort_of,
    names_found,
    near,
    template,
    vector_of,
)


async def enrol_some(store: Store, first: int = 0) -> None:
    """Enrol ten subjects with two templates each, and one subject of another bundle."""
    for number in range(first, first + 10):
        images = [template(f"{number}a"), template(f"{number}b")]
        await store.enroll(f"s{number}", [*images, template(f"{number}a", fingerprint="other")])


async def similarities(store: Store, cohort: Cohort) -> dict[str, float]:
    """Return the subjects that a search by a cohort finds, with their similarity."""
    await store.compare_by(FINGERPRINT, cohort)
    found = await store.search(vector_of("probe"), FINGERPRINT, 100)
    return {candidate.subject: candidate.similarity for candidate in found}


class CohortContract:
    """Rank and score by cohort means."""

    async def test_similarity_is_the_score_by_the_cohort(self, store: Store, clock: Clock) -> None:
        cohort = cohort_of("everybody")
        await store.compare_by(FINGERPRINT, cohort)
        await enrol_some(store)
        await assert_search_agrees(store, clock.now, cohort=cohort)

    async def test_subjects_are_ordered_by_score_where_cosines_differ(self, store: Store) -> None:
        await store.compare_by(FINGERPRINT, axis(1))
        aside = np.zeros(8, np.float32)
        aside[[0, 2]] = 0.7, np.sqrt(1 - 0.7**2)
        await store.enroll("like everybody", [template("a", vector=near(0, 0.8))])
        await store.enroll("like nobody else", [template("b", vector=aside)])
        found = await store.search(near(0, 1.0), FINGERPRINT, 2)
        assert [each.subject for each in found] == ["like nobody else", "like everybody"]
        assert [each.similarity for each in found] == pytest.approx([0.7, 0.5], abs=1e-6)
        assert [each.cosine for each in found] == pytest.approx([0.7, 0.8], abs=1e-6)

    async def test_best_template_of_a_subject_is_that_of_the_best_score(self, store: Store) -> None:
        await store.compare_by(FINGERPRINT, axis(1))
        away = near(0, 0.7) * np.where(np.arange(8) == 1, -1, 1).astype(np.float32)
        new = [template("a", "a", vector=near(0, 0.8)), template("b", "b", vector=away)]
        await store.enroll("ada", new)
        (found,) = await store.search(near(0, 1.0), FINGERPRINT, 2)
        assert found.template_id == "b"

    async def test_lowest_scores_are_found_too(self, store: Store) -> None:
        await store.compare_by(FINGERPRINT, axis(0))
        await store.enroll("ada", [template("a", vector=near(1, 1.0))])
        await store.enroll("bob", [template("b", vector=near(0, -1.0))])
        await store.enroll("eve", [template("e", vector=near(0, 1.0))])
        found = await store.search(near(0, -1.0), FINGERPRINT, 9)
        assert [(each.subject, round(each.similarity, 3)) for each in found] == [
            ("bob", 2.0),
            ("ada", 0.5),
            ("eve", -1.0),
        ]
        assert [each.cosine for each in found] == [1.0, 0.0, -1.0]

    async def test_another_cohort_scores_stored_templates(self, store: Store, clock: Clock) -> None:
        await enrol_some(store)
        seen = [
            await similarities(store, cohort)
            for cohort in (NO_COHORT, cohort_of("one"), cohort_of("two"), NO_COHORT)
        ]
        assert {*seen[0]} == {*seen[1]} == {*seen[2]} == {f"s{number}" for number in range(10)}
        assert seen[3] == pytest.approx(seen[0], abs=1e-6)
        for one, other in (seen[:2], seen[1:3]):
            assert all(abs(one[name] - other[name]) > 1e-4 for name in one)
        await assert_search_agrees(store, clock.now)

    async def test_cohort_given_again_changes_nothing(self, store: Store) -> None:
        await enrol_some(store)
        first = await similarities(store, cohort_of("one"))
        assert await similarities(store, cohort_of("one")) == pytest.approx(first, abs=1e-6)

    async def test_cohort_of_one_bundle_is_not_that_of_another(
        self, store: Store, clock: Clock
    ) -> None:
        await enrol_some(store)
        await store.compare_by(FINGERPRINT, cohort_of("one"))
        await assert_search_agrees(store, clock.now, cohort=cohort_of("one"))

    async def test_templates_enrolled_after_the_cohort_are_scored_by_it(
        self, store: Store, clock: Clock
    ) -> None:
        await enrol_some(store)
        cohort = cohort_of("one")
        await store.compare_by(FINGERPRINT, cohort)
        await enrol_some(store, first=10)
        await store.enroll("ada", [template("x", "t1", fingerprint="other")])
        await store.add_vector("ada", "t1", FINGERPRINT, vector_of("y"))
        await store.delete_subject("s3")
        await store.rename_subject("s4", "eve")
        await assert_search_agrees(store, clock.now, cohort=cohort)

    async def test_cohort_of_another_dimension_is_none_to_a_vector(self, store: Store) -> None:
        await store.compare_by(FINGERPRINT, cohort_of("one"))
        await store.enroll("ada", [template("a", vector=vector_of("a", 16))])
        (found,) = await store.search(vector_of("b", 16), FINGERPRINT, 1)
        assert found.similarity == found.cosine

    async def test_scores_respect_expiry_limit_and_excluded_subject(
        self, store: Store, clock: Clock
    ) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("gone", [template("probe", expires_at=soon)])
        await store.enroll("ada", [template("probe")])
        await enrol_some(store)
        clock.now = soon
        await store.compare_by(FINGERPRINT, cohort_of("one"))
        every = await names_found(store, "probe")
        assert every[0] == "ada"
        assert "gone" not in every
        assert await names_found(store, "probe", limit=3) == every[:3]
        found = await store.search(vector_of("probe"), FINGERPRINT, 3, exclude="ada")
        assert [each.subject for each in found] == every[1:4]

    async def test_every_collection_is_scored_by_the_cohort(
        self, store: Store, clock: Clock
    ) -> None:
        cohort = cohort_of("one")
        await store.create_collection("a")
        await store.create_collection("b")
        await enrol_some(store)
        for number in range(5):
            await store.enroll(f"a{number}", [template(f"a{number}")], collection="a")
        await store.compare_by(FINGERPRINT, cohort)
        await store.enroll("b0", [template("b0")], collection="b")
        for collection in ("", "a", "b"):
            await assert_search_agrees(store, clock.now, collection, cohort)
        await store.delete_collection("a")
        assert await names_found(store, "a1", collection="a") == []

    async def test_cohort_that_comes_amid_enrolments_and_deletions_misses_none(
        self, store: Store, clock: Clock
    ) -> None:
        await enrol_some(store)
        for turn in range(3):
            cohort = cohort_of(f"turn {turn}")
            await asyncio.gather(
                *(store.enroll(f"n{turn}-{n}", [template(f"n{turn}-{n}")]) for n in range(6)),
                store.compare_by(FINGERPRINT, cohort),
                *(store.delete_subject(f"s{2 * turn + n}") for n in range(2)),
                *(store.search(vector_of("probe"), FINGERPRINT, 5) for _ in range(4)),
            )
            await assert_search_agrees(store, clock.now, cohort=cohort)


class LastingCohortContract:
    """Score alike in every process."""

    async def test_scores_are_the_same_after_opening_again(
        self, url: str, clock: Clock, vault: Vault
    ) -> None:
        cohort, seen = cohort_of("one"), []
        store = await open_store(url, clock, vault)
        await enrol_some(store)
        seen.append(await similarities(store, cohort))
        await store.close()
        for _ in range(2):
            store = await open_store(url, clock, vault)
            seen.append(await similarities(store, cohort))
            await assert_search_agrees(store, clock.now, cohort=cohort)
            await store.close()
        for again in seen[1:]:
            assert again == pytest.approx(seen[0], abs=1e-6)
