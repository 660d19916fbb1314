"""The store's contract: renaming a subject."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service.errors import SubjectExists, SubjectNotFound
from service.store import Store, Terms
from service.store.audit import subject_sha256
from tests.contracts.store.audit import whole_log
from tests.contracts.store.samples import (
    Clock,
    assert_search_agrees,
    names_found,
    template,
    vector_of,
)


async def enrol_ada(store: Store, clock: Clock) -> None:
    """Enrol a subject with every kind of value."""
    later = clock.now + timedelta(days=1)
    new = [template("two", "t2", photo=b"photo"), template("one", "t1", expires_at=later)]
    await store.enroll("ada", new, {"of": "ada"}, terms=Terms("form 12", "door 3"))
    await store.add_vector("ada", "t2", "other", vector_of("other"))


class RenameContract:
    """Rename subjects without loss; an old name finds no subject."""

    async def test_renamed_subject_has_all_that_it_had(self, store: Store, clock: Clock) -> None:
        await enrol_ada(store, clock)
        before = await store.subject("ada"), await store.export("ada")
        clock.now += timedelta(seconds=1)
        await store.rename_subject("ada", "lovelace")
        detail, export = await store.subject("lovelace"), await store.export("lovelace")
        templates = tuple(replace(each, subject="lovelace") for each in before[0].templates)
        assert detail == replace(before[0], subject="lovelace", templates=templates)
        assert (export.photos, export.terms) == (before[1].photos, before[1].terms)
        vectors = [each.vector.tolist() for each in export.templates]
        assert vectors == [each.vector.tolist() for each in before[1].templates]

    async def test_renamed_subject_is_found_by_its_new_name_alone(
        self, store: Store, clock: Clock
    ) -> None:
        await enrol_ada(store, clock)
        await store.rename_subject("ada", "lovelace")
        assert await names_found(store, "one") == ["lovelace"]
        assert await store.subject_of("t2") == "lovelace"
        for question in (store.templates_of("ada"), store.delete_template("ada", "t1")):
            with pytest.raises(SubjectNotFound):
                await question
        await assert_search_agrees(store, clock.now)

    async def test_name_in_use_is_refused_and_changes_no_subject(
        self, store: Store, clock: Clock
    ) -> None:
        await enrol_ada(store, clock)
        await store.create_collection("c")
        await store.enroll("bob", [template("three")])
        await store.enroll("eve", [template("four")], collection="c")
        for taken in ("bob", "eve", "ada"):
            with pytest.raises(SubjectExists):
                await store.rename_subject("ada", taken)
        assert len((await store.subject("ada")).templates) == 3
        assert len((await store.subject("bob")).templates) == 1
        await assert_search_agrees(store, clock.now)

    async def test_unknown_subject_is_not_renamed(self, store: Store) -> None:
        with pytest.raises(SubjectNotFound):
            await store.rename_subject("ada", "lovelace")
        assert await whole_log(store) == []

    async def test_subject_keeps_its_collection(self, store: Store, clock: Clock) -> None:
        await store.create_collection("c")
        await store.enroll("ada", [template("one")], collection="c")
        await store.rename_subject("ada", "lovelace")
        assert await names_found(store, "one", collection="c") == ["lovelace"]
        await assert_search_agrees(store, clock.now, "c")
        assert (await store.delete_collection("c")).subjects == 1
        with pytest.raises(SubjectNotFound):
            await store.subject("lovelace")

    async def test_name_that_was_given_up_is_free(self, store: Store, clock: Clock) -> None:
        await enrol_ada(store, clock)
        await store.rename_subject("ada", "lovelace")
        await store.enroll("ada", [template("one")])
        assert sorted(await names_found(store, "one")) == ["ada", "lovelace"]
        assert (await store.delete_subject("lovelace")).templates == 3
        assert await names_found(store, "one") == ["ada"]

    async def test_template_goes_on_to_expire(self, store: Store, clock: Clock) -> None:
        await enrol_ada(store, clock)
        await store.rename_subject("ada", "lovelace")
        clock.now += timedelta(days=1)
        (left, _) = (await store.templates_of("lovelace")).templates
        assert left.template_id == "t2"
        assert (await store.sweep(10)).templates == 1

    async def test_log_has_both_names_and_the_receipt(self, store: Store) -> None:
        await store.enroll("ada", [template("one")])
        receipt = await store.rename_subject("ada", "lovelace", by="k1")
        *_, old, new = await whole_log(store)
        assert (old.action, old.subject_sha256) == ("renamed_from", subject_sha256("ada"))
        assert (new.action, new.subject_sha256) == ("renamed_to", subject_sha256("lovelace"))
        assert (old.key_id, receipt) == ("k1", new)

    async def test_of_many_subjects_renamed_to_one_name_one_succeeds(
        self, store: Store, clock: Clock
    ) -> None:
        for number in range(8):
            await store.enroll(f"s{number}", [template(f"i{number}")])
        outcomes = await asyncio.gather(
            *[store.rename_subject(f"s{number}", "ada") for number in range(8)],
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, SubjectExists) for outcome in outcomes) == 7
        assert (await store.count()).subjects == 8
        await assert_search_agrees(store, clock.now)

    async def test_renaming_during_enrolments_and_deletions_leaves_no_half_subject(
        self, store: Store, clock: Clock
    ) -> None:
        for turn in range(10):
            await store.enroll("ada", [template("one"), template("two")])
            outcomes = await asyncio.gather(
                store.rename_subject("ada", "bob"),
                store.enroll("ada", [template(f"three{turn}", fingerprint="other")]),
                store.rename_subject("bob", "ada"),
                store.delete_subject("bob"),
                store.enroll("bob", [template("one")]),
                return_exceptions=True,
            )
            surprises = [o for o in outcomes if isinstance(o, Exception)]
            assert all(isinstance(each, SubjectExists | SubjectNotFound) for each in surprises)
            await assert_search_agrees(store, clock.now)
