"""The store's whole contract; the tests of each engine inherit it and provide a `url`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from service.errors import StoreUnavailable, SubjectNotFound, TemplateNotFound
from service.store import Idempotency, Store, Vault, open_store
from tests.contracts.store.audit import AuditContract
from tests.contracts.store.change import ChangeContract, PhotoContract
from tests.contracts.store.cohort import CohortContract, LastingCohortContract
from tests.contracts.store.collection import CollectionContract
from tests.contracts.store.collection_end import (
    CollectionEndContract,
    LastingCollectionContract,
)
from tests.contracts.store.damage import DamageContract
from tests.contracts.store.enrol import EnrolContract, RepeatContract
from tests.contracts.store.key import KeyContract
from tests.contracts.store.race import RaceContract
from tests.contracts.store.rename import RenameContract
from tests.contracts.store.samples import (
    FINGERPRINT,
    Clock,
    all_exports,
    assert_search_agrees,
    names_found,
    template,
    vector_of,
)
from tests.contracts.store.search import ExpiryContract, SearchContract, SweepContract


class ListContract:
    """List and describe subjects."""

    async def test_subjects_come_in_code_point_order_page_by_page(self, store: Store) -> None:
        names = ["b", "a", "B", "é", "z", "\U0001d538", "a b", "\uffee"]
        for name in names:
            await store.enroll(name, [template("one")])
        assert [export.subject for export in await all_exports(store)] == sorted(names)

    async def test_last_page_has_no_next(self, store: Store) -> None:
        for name in "abc":
            await store.enroll(name, [template("one")])
        assert (await store.subjects(None, 3)).next is None
        assert (await store.subjects(None, 2)).next == "b"

    async def test_pages_neither_repeat_nor_miss_while_others_change(self, store: Store) -> None:
        for name in "bdfh":
            await store.enroll(name, [template("one")])
        page = await store.subjects(None, 2)
        await store.enroll("a", [template("one")])
        await store.delete_subject("d")
        await store.enroll("e", [template("one")])
        rest = await store.subjects(page.next, 5)
        assert [item.subject for item in rest.items] == ["e", "f", "h"]

    async def test_summary_counts_templates_and_names_fingerprints(self, store: Store) -> None:
        new = [template("one"), template("two"), template("one", fingerprint="other")]
        await store.enroll("ada", new, {"a": "b"})
        (summary,) = (await store.subjects(None, 5)).items
        assert (summary.templates, summary.metadata) == (3, {"a": "b"})
        assert summary.fingerprints == (FINGERPRINT, "other")

    async def test_detail_lists_templates_oldest_first(self, store: Store) -> None:
        for at in (3, 1, 2):
            await store.enroll("ada", [template(f"i{at}", f"t{at}")])
        detail = await store.subject("ada")
        assert [each.template_id for each in detail.templates] == ["t3", "t1", "t2"]

    async def test_unknown_subject_is_not_found(self, store: Store) -> None:
        for question in (
            store.templates_of("ada"),
            store.subject("ada"),
            store.export("ada"),
            store.delete_subject("ada"),
            store.delete_template("ada", "t1"),
        ):
            with pytest.raises(SubjectNotFound):
                await question


class DeleteContract:
    """Delete completely."""

    async def test_deleted_subject_is_gone_everywhere(self, store: Store) -> None:
        await store.enroll("ada", [template("one"), template("two")])
        await store.enroll("bob", [template("three")])
        deleted = await store.delete_subject("ada")
        assert (deleted.subjects, deleted.templates) == (1, 2)
        assert await names_found(store, "one") == ["bob"]
        with pytest.raises(SubjectNotFound):
            await store.templates_of("ada")

    async def test_deleted_template_is_never_found(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1"), template("two", "t2")])
        deleted = await store.delete_template("ada", "t1")
        assert (deleted.subjects, deleted.templates) == (0, 1)
        (candidate,) = await store.search(vector_of("one"), FINGERPRINT, 5)
        assert candidate.template_id == "t2"

    async def test_last_template_takes_its_subject_along(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        deleted = await store.delete_template("ada", "t1")
        assert (deleted.subjects, deleted.templates) == (1, 1)
        assert (await store.count()).subjects == 0

    async def test_template_of_another_subject_is_not_deleted(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.enroll("bob", [template("two", "t2")])
        with pytest.raises(TemplateNotFound):
            await store.delete_template("ada", "t2")
        assert (await store.count()).templates == 2

    async def test_deleted_image_can_be_enrolled_again(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.delete_subject("ada")
        assert (await store.enroll("ada", [template("one", "t1")])).templates[0].created
        assert await names_found(store, "one") == ["ada"]


class StoreContract(
    EnrolContract,
    RepeatContract,
    SearchContract,
    CohortContract,
    ExpiryContract,
    ListContract,
    DeleteContract,
    SweepContract,
    PhotoContract,
    ChangeContract,
    KeyContract,
    AuditContract,
    CollectionContract,
    CollectionEndContract,
    RenameContract,
    RaceContract,
):
    """Test an engine: inherit this, and override `url` with a fixture that names an empty store."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def vault(self) -> Vault:
        """Return the vault of the store; tests with encryption override it."""
        return Vault()

    @pytest.fixture
    async def store(self, url: str, clock: Clock, vault: Vault) -> AsyncIterator[Store]:
        store = await open_store(url, clock, vault)
        yield store
        await store.close()

    async def test_open_store_answers_a_ping(self, store: Store) -> None:
        await store.ping()

    async def test_closed_store_is_unavailable(self, store: Store) -> None:
        await store.close()
        await store.close()
        for question in (
            store.ping(),
            store.count(),
            store.search(vector_of("one"), FINGERPRINT, 1),
            store.enroll("ada", [template("one")]),
        ):
            with pytest.raises(StoreUnavailable):
                await question

    async def test_requests_before_closing_are_finished(self, store: Store) -> None:
        asked = [asyncio.create_task(store.enroll("ada", [template(f"i{i}")])) for i in range(20)]
        await asyncio.sleep(0)  # lets each task start its work
        await store.close()
        assert all([(await task).templates[0].created for task in asked])


class LastingStoreContract(
    LastingCollectionContract, LastingCohortContract, DamageContract, StoreContract
):
    """Test an engine whose store outlives the process."""

    async def test_reopened_store_holds_and_finds_enrolled_subjects(
        self, url: str, clock: Clock, vault: Vault
    ) -> None:
        store = await open_store(url, clock, vault)
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one"), template("two", expires_at=soon)], {"a": "b"})
        await store.enroll("bob", [template("three")], None, Idempotency("k", "d"))
        await store.close()
        clock.now = soon
        store = await open_store(url, clock, vault)
        await assert_search_agrees(store, clock.now)
        assert await names_found(store, "one") == ["ada", "bob"]
        again = await store.enroll("bob", [template("three")], None, Idempotency("k", "d"))
        assert again.replayed
        await store.close()
