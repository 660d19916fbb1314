"""The store's contract: search and expiry."""

import asyncio
from datetime import timedelta, timezone

import numpy as np
import pytest

from service.errors import InvalidRequest
from service.store import Deletion, Store
from tests.contracts.store.samples import (
    FINGERPRINT,
    Clock,
    names_found,
    near,
    template,
    vector_of,
)


class SearchContract:
    """Find the best template of each subject."""

    async def test_best_template_of_each_subject_is_found_best_first(self, store: Store) -> None:
        for subject, scores in {"ada": (0.5, 0.9), "bob": (0.7, -0.2), "cy": (0.1,)}.items():
            new = [template(f"{subject}{s}", f"{subject}{s}", vector=near(0, s)) for s in scores]
            await store.enroll(subject, new)
        found = await store.search(near(0, 1.0), FINGERPRINT, 2)
        assert [(c.subject, c.template_id) for c in found] == [("ada", "ada0.9"), ("bob", "bob0.7")]
        assert [c.similarity for c in found] == pytest.approx([0.9, 0.7], abs=1e-6)
        assert [c.cosine for c in found] == [c.similarity for c in found]

    async def test_subject_with_many_templates_hides_no_other(self, store: Store) -> None:
        many = [template(f"a{i}", vector=near(0, 0.9 + i / 1000)) for i in range(40)]
        await store.enroll("ada", many)
        await store.enroll("bob", [template("b", vector=near(0, 0.3))])
        found = await store.search(near(0, 1.0), FINGERPRINT, 2)
        assert [candidate.subject for candidate in found] == ["ada", "bob"]

    async def test_subject_left_out_takes_no_place(self, store: Store) -> None:
        many = [template(f"a{i}", vector=near(0, 0.9 + i / 1000)) for i in range(90)]
        await store.enroll("ada", many)
        for subject, score in {"bob": 0.3, "cy": 0.2}.items():
            await store.enroll(subject, [template(subject, vector=near(0, score))])
        found = await store.search(near(0, 1.0), FINGERPRINT, 2, exclude="ada")
        assert [candidate.subject for candidate in found] == ["bob", "cy"]

    async def test_equal_similarities_are_ordered_by_subject(self, store: Store) -> None:
        for subject in ("cy", "ada", "bob"):
            await store.enroll(subject, [template("one", vector=near(0, 1.0))])
        found = await store.search(near(0, 1.0), FINGERPRINT, 2)
        assert [candidate.subject for candidate in found] == ["ada", "bob"]

    async def test_similarity_is_never_above_one(self, store: Store) -> None:
        long = vector_of("one") * np.float32(1.00001)
        await store.enroll("ada", [template("one", vector=long)])
        assert (await store.search(long, FINGERPRINT, 1))[0].similarity == 1.0

    async def test_template_of_another_bundle_is_never_compared(self, store: Store) -> None:
        await store.enroll("ada", [template("one", fingerprint="other")])
        assert await names_found(store, "one") == []

    async def test_template_of_another_dimension_is_never_compared(self, store: Store) -> None:
        await store.enroll("ada", [template("one", vector=vector_of("one", 16))])
        await store.enroll("bob", [template("one")])
        assert await names_found(store, "one") == ["bob"]

    async def test_empty_gallery_has_no_candidates(self, store: Store) -> None:
        assert await names_found(store, "one") == []


class ExpiryContract:
    """Ignore expired templates."""

    async def test_expired_template_is_neither_found_nor_compared(
        self, store: Store, clock: Clock
    ) -> None:
        expires_at = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", expires_at=expires_at)])
        assert await names_found(store, "one") == ["ada"]
        clock.now = expires_at
        assert await names_found(store, "one") == []
        assert (await store.templates_of("ada")).templates == ()

    @pytest.mark.parametrize("hours", [0, -1, -24 * 365 * 2000])
    async def test_expiry_that_has_passed_is_refused_and_changes_nothing(
        self, store: Store, clock: Clock, hours: float
    ) -> None:
        passed = clock.now + timedelta(hours=hours)
        await store.enroll("ada", [template("one", "t1")], {"kept": "yes"})
        for again in (template("one", expires_at=passed), template("two", expires_at=passed)):
            with pytest.raises(InvalidRequest) as caught:
                await store.enroll("ada", [template("three"), again], {"kept": "no"})
            assert [error.field for error in caught.value.errors] == ["expires_at"]
        detail = await store.subject("ada")
        assert detail.metadata == {"kept": "yes"}
        assert [(each.template_id, each.expires_at) for each in detail.templates] == [("t1", None)]
        assert await names_found(store, "one") == ["ada"]

    async def test_templates_of_other_bundles_are_seen_while_they_are_valid(
        self, store: Store, clock: Clock
    ) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", fingerprint="other", expires_at=soon)])
        assert await store.has_others(FINGERPRINT)
        assert not await store.has_others("other")
        assert not await store.has_others(FINGERPRINT, "elsewhere")
        clock.now = soon
        assert not await store.has_others(FINGERPRINT)

    async def test_expired_template_leaves_room_for_others(
        self, store: Store, clock: Clock
    ) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("a", vector=near(0, 0.9), expires_at=soon)])
        await store.enroll("bob", [template("b", vector=near(0, 0.2))])
        clock.now = soon
        found = await store.search(near(0, 1.0), FINGERPRINT, 1)
        assert [candidate.subject for candidate in found] == ["bob"]

    async def test_expiry_in_another_zone_is_the_same_moment(
        self, store: Store, clock: Clock
    ) -> None:
        zone = timezone(timedelta(hours=-7))
        expires_at = (clock.now + timedelta(hours=1)).astimezone(zone)
        await store.enroll("ada", [template("one", expires_at=expires_at)])
        assert len((await store.templates_of("ada")).templates) == 1
        (stored,) = (await store.subject("ada")).templates
        assert stored.expires_at == expires_at
        assert stored.expires_at.utcoffset() == timedelta(0)

    async def test_enrolling_an_expired_image_again_creates_a_template(
        self, store: Store, clock: Clock
    ) -> None:
        expires_at = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", "t1", expires_at=expires_at)])
        clock.now = expires_at
        enrolled = await store.enroll("ada", [template("one", "t2")])
        assert [(t.template_id, t.created) for t in enrolled.templates] == [("t2", True)]
        assert await names_found(store, "one") == ["ada"]
        assert (await store.count()).templates == 1

    async def test_expiry_of_a_known_image_is_replaced_if_given(
        self, store: Store, clock: Clock
    ) -> None:
        expires_at = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", "t1")])
        await store.enroll("ada", [template("one", "t1", expires_at=expires_at)])
        clock.now = expires_at
        assert await names_found(store, "one") == []
        assert (await store.templates_of("ada")).templates == ()

    async def test_expiry_of_a_known_image_is_kept_if_none_is_given(
        self, store: Store, clock: Clock
    ) -> None:
        expires_at = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", expires_at=expires_at)])
        await store.enroll("ada", [template("one")])
        clock.now = expires_at
        assert await names_found(store, "one") == []


class SweepContract:
    """Erase expired templates."""

    async def test_sweep_erases_expired_templates_only(self, store: Store, clock: Clock) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", expires_at=soon, photo=b"jpeg")])
        await store.enroll("bob", [template("two", "t2"), template("three", expires_at=soon)])
        await store.enroll("eve", [template("four", expires_at=soon + timedelta(seconds=1))])
        clock.now = soon
        assert await store.sweep(100) == Deletion(subjects=1, templates=2)
        counts = await store.count()
        assert (counts.subjects, counts.templates) == (2, 2)
        assert [each.template_id for each in (await store.subject("bob")).templates] == ["t2"]

    async def test_sweep_erases_at_most_its_limit(self, store: Store, clock: Clock) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template(f"{n}", expires_at=soon) for n in range(5)])
        clock.now = soon
        swept = [await store.sweep(2) for _ in range(4)]
        assert [each.templates for each in swept] == [2, 2, 1, 0]
        assert [each.subjects for each in swept] == [0, 0, 1, 0]

    async def test_sweep_during_enrolments_of_the_same_subject_loses_none(
        self, store: Store, clock: Clock
    ) -> None:
        for turn in range(5):
            soon = clock.now + timedelta(seconds=1)
            await store.enroll("ada", [template(f"old{turn}", expires_at=soon)])
            clock.now = soon
            new = [store.enroll("ada", [template(f"{turn}-{n}")]) for n in range(3)]
            await asyncio.gather(store.sweep(100), *new)
        assert (await store.count()).templates == 15
