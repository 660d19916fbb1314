"""The store's contract: enrolment."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import numpy as np
import pytest

from service.errors import IdempotencyConflict, TemplateIdTaken
from service.store import EnrolledTemplate, Idempotency, Store
from tests.contracts.store.samples import FINGERPRINT, Clock, names_found, template, vector_of


class EnrolContract:
    """Add each template once."""

    async def test_enrolled_template_is_found_at_once(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        (candidate,) = await store.search(vector_of("one"), FINGERPRINT, 5)
        assert (candidate.subject, candidate.template_id) == ("ada", "t1")
        assert candidate.similarity == pytest.approx(1.0, abs=1e-6)

    async def test_stored_vector_is_the_vector_given(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        (held,) = (await store.templates_of("ada")).templates
        assert held.fingerprint == FINGERPRINT
        np.testing.assert_array_equal(held.vector, vector_of("one"))

    async def test_templates_of_several_subjects_come_at_once_without_those_that_are_gone(
        self, store: Store
    ) -> None:
        await store.enroll("ada", [template("one", "t1"), template("two", "t2")])
        await store.enroll("bob", [template("three", "t3")])
        found = await store.templates_of_each(["bob", "nobody", "ada"])
        held = {each.subject: [one.template_id for one in each.templates] for each in found}
        assert held == {"ada": ["t1", "t2"], "bob": ["t3"]}

    async def test_everything_given_is_exported(self, store: Store, clock: Clock) -> None:
        expires_at = clock.now + timedelta(days=1)
        await store.enroll("ada", [template("one", "t1", expires_at=expires_at)], {"from": "x"})
        export = await store.export("ada")
        (stored,) = export.templates
        assert (export.subject, export.created_at, export.metadata) == (
            "ada",
            clock.now,
            {"from": "x"},
        )
        assert (stored.template_id, stored.subject, stored.expires_at) == ("t1", "ada", expires_at)
        assert stored.image_sha256 == hashlib.sha256(b"one").hexdigest()
        assert stored.quality == {"sharpness": 14.5}
        np.testing.assert_array_equal(stored.vector, vector_of("one"))

    async def test_same_image_again_keeps_its_id(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        enrolled = await store.enroll("ada", [template("one", "t2")])
        assert [(t.template_id, t.created) for t in enrolled.templates] == [("t1", False)]
        assert (await store.count()).templates == 1

    async def test_same_image_twice_in_a_request_is_one_template(self, store: Store) -> None:
        enrolled = await store.enroll("ada", [template("one", "t1"), template("one", "t2")])
        assert [(t.template_id, t.created) for t in enrolled.templates] == [
            ("t1", True),
            ("t1", False),
        ]

    async def test_same_image_of_another_bundle_is_another_template_of_the_same_id(
        self, store: Store
    ) -> None:
        await store.enroll("ada", [template("one", "t1")])
        enrolled = await store.enroll("ada", [template("one", "t2", fingerprint="other")])
        assert enrolled.templates == (EnrolledTemplate("t1", created=True),)
        assert len((await store.templates_of("ada")).templates) == 2

    async def test_same_image_of_another_subject_is_another_template(self, store: Store) -> None:
        await store.enroll("ada", [template("one")])
        assert (await store.enroll("bob", [template("one")])).templates[0].created

    async def test_same_image_under_the_same_id_is_there_already(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        enrolled = await store.enroll("ada", [template("one", "t1")])
        assert not enrolled.templates[0].created

    @pytest.mark.parametrize(
        ("subject", "image", "fingerprint"),
        [
            ("ada", "two", FINGERPRINT),
            ("bob", "one", FINGERPRINT),
            ("bob", "one", "other"),
        ],
    )
    async def test_id_of_another_template_is_taken_and_nothing_written(
        self, store: Store, subject: str, image: str, fingerprint: str
    ) -> None:
        await store.enroll("ada", [template("one", "t1")], {"kept": "yes"})
        taken = template(image, "t1", fingerprint=fingerprint)
        with pytest.raises(TemplateIdTaken):
            await store.enroll(subject, [template("three"), taken], {"kept": "no"})
        assert (await store.count()).templates == 1
        assert (await store.subject("ada")).metadata == {"kept": "yes"}
        assert await names_found(store, "three") == ["ada"]

    async def test_metadata_is_replaced_if_given_and_kept_if_not(self, store: Store) -> None:
        await store.enroll("ada", [template("one")], {"a": "1", "b": "2"})
        await store.enroll("ada", [template("two")])
        assert (await store.subject("ada")).metadata == {"a": "1", "b": "2"}
        await store.enroll("ada", [template("one")], {"c": "3"})
        assert (await store.subject("ada")).metadata == {"c": "3"}

    @pytest.mark.parametrize(
        "subject", ["Ω≠ß 👩🏽‍🦰", "'; DROP TABLE x; --", "%_", "é" * 256, " a "]
    )
    async def test_any_text_is_a_subject(self, store: Store, subject: str) -> None:
        await store.enroll(subject, [template("one")])
        assert (await store.subjects(None, 5)).items[0].subject == subject
        assert await names_found(store, "one") == [subject]
        assert (await store.delete_subject(subject)).templates == 1


async def delete_subject(store: Store, clock: Clock) -> None:
    await store.delete_subject("ada")


async def delete_template(store: Store, clock: Clock) -> None:
    await store.delete_template("ada", "t1")


async def delete_collection(store: Store, clock: Clock) -> None:
    await store.delete_collection("guests")
    await store.create_collection("guests")


async def forget_bundle(store: Store, clock: Clock) -> None:
    await store.forget(FINGERPRINT)


async def rename(store: Store, clock: Clock) -> None:
    await store.rename_subject("ada", "lovelace")
    await store.delete_subject("lovelace")


async def expire(store: Store, clock: Clock) -> None:
    clock.now += timedelta(hours=1)


async def expire_and_sweep(store: Store, clock: Clock) -> None:
    await expire(store, clock)
    await store.sweep(10)


class RepeatContract:
    """Repeat a request with an idempotency key."""

    async def test_repeated_request_gets_the_first_outcome(self, store: Store) -> None:
        key = Idempotency("k", "d")
        first = await store.enroll("ada", [template("one", "t1")], None, key)
        again = await store.enroll("ada", [template("one", "t2")], {"x": "y"}, key)
        assert (first.replayed, again.replayed) == (False, True)
        assert again.templates == first.templates
        assert (await store.subject("ada")).metadata == {}

    async def test_key_of_another_request_is_a_conflict(self, store: Store) -> None:
        await store.enroll("ada", [template("one")], None, Idempotency("k", "d"))
        with pytest.raises(IdempotencyConflict):
            await store.enroll("ada", [template("two")], None, Idempotency("k", "e"))
        assert (await store.count()).templates == 1

    async def test_key_of_a_refused_request_is_free(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        with pytest.raises(TemplateIdTaken):
            await store.enroll("ada", [template("two", "t1")], None, Idempotency("k", "d"))
        enrolled = await store.enroll("ada", [template("two")], None, Idempotency("k", "e"))
        assert not enrolled.replayed

    async def test_key_is_forgotten_after_a_day(self, store: Store, clock: Clock) -> None:
        await store.enroll("ada", [template("one")], None, Idempotency("k", "d"))
        clock.now += timedelta(hours=24)
        enrolled = await store.enroll("ada", [template("two")], None, Idempotency("k", "e"))
        assert not enrolled.replayed

    @pytest.mark.parametrize(
        "erase",
        [
            delete_subject,
            delete_template,
            delete_collection,
            forget_bundle,
            rename,
            expire,
            expire_and_sweep,
        ],
    )
    async def test_repeated_request_enrols_again_after_its_template_was_erased(
        self, store: Store, clock: Clock, erase: Callable[[Store, Clock], Awaitable[None]]
    ) -> None:
        await store.create_collection("guests")
        soon = clock.now + timedelta(hours=1) if erase in (expire, expire_and_sweep) else None

        async def ask(image: str, key: str, subject: str = "ada") -> bool:
            new = [template(image, image, expires_at=soon)]
            asked = Idempotency(key, f"{image} of {subject}")
            collection = "guests" if subject == "ada" else ""
            done = await store.enroll(subject, new, None, asked, collection=collection)
            assert done.templates[0].created
            return done.replayed

        await ask("t1", "k1")
        await store.enroll(
            "bob", [template("b1", fingerprint="other")], None, Idempotency("k", "d")
        )
        await erase(store, clock)
        soon = None
        assert not await ask("t1", "k1")
        assert await names_found(store, "t1", collection="guests") == ["ada"]
        assert await ask("t1", "k1")
        kept = [template("b1", fingerprint="other")]
        assert (await store.enroll("bob", kept, None, Idempotency("k", "d"))).replayed

    async def test_record_of_a_request_stays_while_a_bundle_has_its_templates(
        self, store: Store
    ) -> None:
        key = Idempotency("k", "d")
        both = [template("one", "t1"), template("one", "t1", fingerprint="other")]
        await store.enroll("ada", both, None, key)
        await store.forget("other")
        assert (await store.enroll("ada", both, None, key)).replayed

    async def test_key_is_kept_for_a_day(self, store: Store, clock: Clock) -> None:
        await store.enroll("ada", [template("one")], None, Idempotency("k", "d"))
        clock.now += timedelta(hours=23, minutes=59)
        again = await store.enroll("ada", [template("one")], None, Idempotency("k", "d"))
        assert again.replayed
