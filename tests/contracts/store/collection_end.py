"""The store's contract: a deleted collection is erased completely, and nothing else is."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import chain

import pytest

from service.errors import CollectionNotFound, StoreError, SubjectNotFound
from service.store import Counts, Deletion, Store, Vault, open_store
from service.store.audit import subject_sha256
from tests.contracts.store.audit import logged
from tests.contracts.store.collection import counts_of, enrol_everywhere
from tests.contracts.store.inside import copy_of, run
from tests.contracts.store.samples import (
    MASTER,
    Clock,
    assert_search_agrees,
    names_found,
    template,
    vector_of,
)


class CollectionEndContract:
    """Erase a collection with all its subjects."""

    async def test_deletion_erases_one_whole_collection_only(self, store: Store) -> None:
        await enrol_everywhere(store)
        new = [template("two", "t2", photo=b"jpeg"), template("three", fingerprint="other")]
        await store.enroll("bob", new, collection="a")
        assert await store.delete_collection("a") == Deletion(2, 3)
        for subject in ("adaa", "bob"):
            with pytest.raises(SubjectNotFound):
                await store.subject(subject)
        with pytest.raises(CollectionNotFound):
            await store.enroll("bob", [template("two")], collection="a")
        assert await names_found(store, "one", collection="a") == []
        assert await names_found(store, "one") == ["ada"]
        assert await names_found(store, "one", collection="b") == ["adab"]
        assert [each.name for each in (await store.collections(None, 9)).items] == ["b"]
        assert await counts_of(store, "", "a", "b") == [(1, 1), (0, 0), (1, 1)]

    async def test_collection_that_comes_again_is_empty_and_works(self, store: Store) -> None:
        for turn in range(3):
            await store.create_collection("a")
            assert await names_found(store, "one", collection="a") == []
            await store.enroll(f"ada{turn}", [template("one")], collection="a")
            assert await names_found(store, "one", collection="a") == [f"ada{turn}"]
            await store.delete_collection("a")
        assert await store.count() == Counts(0, 0)

    async def test_changes_of_a_collection_are_logged_with_counts(self, store: Store) -> None:
        await store.create_collection("a")
        await store.enroll("ada", [template("one"), template("two")], collection="a")
        deleted = await store.delete_collection("a")
        assert await logged(store) == [
            ("collection_created", {}),
            ("enrolled", {"templates": 2}),
            ("collection_deleted", {"subjects": 1, "templates": 2}),
        ]
        assert deleted.receipt == (await store.audit(2, 9))[0]
        assert deleted.receipt.subject_sha256 == subject_sha256("a")

    async def test_enrolment_racing_a_deletion_is_erased_or_refused(self, store: Store) -> None:
        for turn in range(5):
            await store.create_collection("a")
            enrolments = [
                store.enroll(f"s{turn}-{i}", [template("one")], collection="a") for i in range(24)
            ]
            outcomes = await asyncio.gather(
                *enrolments[:12],
                store.delete_collection("a"),
                *enrolments[12:],
                return_exceptions=True,
            )
            errors = [each for each in outcomes if isinstance(each, BaseException)]
            assert {type(error) for error in errors} <= {CollectionNotFound}
            assert await store.count() == Counts(0, 0)
            assert await store.count("a") == Counts(0, 0)
            assert await names_found(store, "one", collection="a") == []

    @pytest.mark.parametrize("seed", range(3))
    async def test_searches_agree_with_the_stored_templates_after_any_operations(
        self, store: Store, clock: Clock, seed: int
    ) -> None:
        dice, names = random.Random(seed), ("", "a", "b")
        for _ in range(10):
            asked = [_anything(store, clock, dice) for _ in range(12)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            errors = [each for each in outcomes if isinstance(each, BaseException)]
            assert [error for error in errors if not isinstance(error, StoreError)] == []
            clock.now += timedelta(seconds=1)
            for name in names:
                await assert_search_agrees(store, clock.now, name)


def _anything(store: Store, clock: Clock, dice: random.Random) -> Awaitable[object]:
    """Choose an operation in one of three collections."""
    subject, image = f"s{dice.randrange(9)}", f"i{dice.randrange(9)}"
    name, template_id = dice.choice(("", "a", "b")), f"{subject}{image}"
    soon = clock.now + timedelta(seconds=1 + dice.randrange(5))
    passing = template(image, template_id, expires_at=soon)
    lasting = template(image, template_id)
    choices: list[Callable[[], Awaitable[object]]] = [
        lambda: store.delete_collection(name),
        lambda: store.create_collection(name),
        lambda: store.create_collection(name),
        lambda: store.delete_subject(subject),
        lambda: store.sweep(2),
        lambda: store.add_vector(subject, template_id, "other", vector_of(image)),
        lambda: store.enroll(subject, [passing], collection=name),
        *[lambda: store.enroll(subject, [lasting], collection=name)] * 3,
    ]
    return dice.choice(choices)()


class LastingCollectionContract:
    """Keep collections, encrypted or not, after the process ends."""

    async def test_large_collection_goes_in_steps_and_the_last_counts_all(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        await store.create_collection("a")
        await store.enroll("ada", [template("one")])
        await store.enroll("bob", [template("one"), template("two")], collection="a")
        rows = [(f"s{i}", clock.now.isoformat(), b"{}", "a") for i in range(500)]
        run(
            url,
            "INSERT INTO subjects (subject, created_at, metadata, collection) VALUES "
            + ", ".join(["(?, ?, ?, ?)"] * len(rows)),
            *chain(*rows),
        )
        assert await store.count("a") == Counts(501, 2)
        assert await store.delete_collection("a") == Deletion(501, 2)
        assert (await logged(store))[-2:] == [
            ("collection_emptied", {"subjects": 500, "templates": 2}),
            ("collection_deleted", {"subjects": 501, "templates": 2}),
        ]
        assert await store.count() == Counts(1, 1)

    async def test_reopened_store_holds_its_collections(
        self, store: Store, url: str, clock: Clock, vault: Vault
    ) -> None:
        await enrol_everywhere(store)
        before = await store.collections(None, 9)
        await store.close()
        again = await open_store(url, clock, vault)
        assert await again.collections(None, 9) == before
        for name in ("", "a", "b"):
            assert await names_found(again, "one", collection=name) == [f"ada{name}"]
        await again.close()

    async def test_clear_subjects_of_a_collection_are_served_and_sealed(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        await store.close()
        clear = await open_store(url, clock)
        await enrol_everywhere(clear)
        await clear.close()
        sealed = await open_store(url, clock, Vault([MASTER]))
        for left in (2, 1, 0):
            for name in ("", "a", "b"):
                await assert_search_agrees(sealed, clock.now, name)
                assert await names_found(sealed, "one", collection=name) == [f"ada{name}"]
            assert (await sealed.reseal(1)).left == left
        for name in ("", "a", "b"):
            assert await names_found(sealed, "one", collection=name) == [f"ada{name}"]
        await sealed.close()

    async def test_deletion_destroys_the_keys_of_a_collection(
        self, store: Store, url: str, vault: Vault
    ) -> None:
        await store.create_collection("a")
        await store.enroll("ada", [template("one")])
        before = run(url, "SELECT key_id FROM data_keys WHERE wrapped IS NOT NULL")
        await store.enroll("bob", [template("one")], collection="a")
        await store.delete_collection("a")
        assert run(url, "SELECT key_id FROM data_keys WHERE wrapped IS NOT NULL") == before
        assert bool(before) == (vault.current is not None)

    async def test_collection_that_comes_back_with_an_old_backup_is_empty_and_works(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        await store.close()
        sealed = await open_store(url, clock, Vault([MASTER]))
        await enrol_everywhere(sealed)
        await sealed.close()
        backup = copy_of(url)
        later = await open_store(url, clock, Vault([MASTER]))
        await later.delete_collection("a")
        await later.close()
        for key_id, master, wrapped in run(url, "SELECT key_id, master, wrapped FROM data_keys"):
            statement = "UPDATE data_keys SET master = ?, wrapped = ? WHERE key_id = ?"
            run(backup, statement, master, wrapped, key_id)
        restored = await open_store(backup, clock, Vault([MASTER]))
        assert await names_found(restored, "one", collection="a") == []
        assert await counts_of(restored, "", "a", "b") == [(1, 1), (0, 0), (1, 1)]
        await restored.enroll("bob", [template("one")], collection="a")
        assert await names_found(restored, "one", collection="a") == ["bob"]
        await restored.close()
