"""The store's contract: the audit log."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from service.errors import SubjectNotFound
from service.store import Idempotency, Store
from service.store.audit import AuditEntry, first_break, subject_sha256
from tests.contracts.store.key import key
from tests.contracts.store.samples import FINGERPRINT, Clock, template, vector_of


async def whole_log(store: Store) -> list[AuditEntry]:
    """Return the log, read in pages of two."""
    entries: list[AuditEntry] = []
    while page := await store.audit(entries[-1].number if entries else 0, 2):
        entries += page
    return entries


async def logged(store: Store) -> list[tuple[str, Mapping[str, int]]]:
    return [(entry.action, entry.counts) for entry in await whole_log(store)]


class AuditContract:
    """Log every change, in a chain of digests."""

    async def test_every_change_is_logged(self, store: Store, clock: Clock) -> None:
        soon = clock.now + timedelta(seconds=1)
        await store.add_key(key("one", clock))
        await store.enroll("ada", [template("one", "t1"), template("two", "t2")])
        await store.enroll("bob", [template("three", expires_at=soon)])
        await store.add_vector("ada", "t1", "new", vector_of("new"))
        await store.switch_to("new")
        await store.delete_template("ada", "t2")
        clock.now = soon
        await store.sweep(10)
        await store.forget(FINGERPRINT)
        await store.delete_subject("ada")
        await store.revoke_key("one")
        assert await logged(store) == [
            ("key_created", {}),
            ("enrolled", {"templates": 2}),
            ("enrolled", {"templates": 1}),
            ("reembedded", {"templates": 1}),
            ("switched", {}),
            ("template_deleted", {"subjects": 0, "templates": 1}),
            ("expired", {"subjects": 1, "templates": 1}),
            ("bundle_forgotten", {"subjects": 0, "templates": 1}),
            ("subject_deleted", {"subjects": 1, "templates": 1}),
            ("key_revoked", {}),
        ]

    async def test_requests_without_a_change_are_not_logged(self, store: Store) -> None:
        same = Idempotency("k", "d")
        await store.enroll("ada", [template("one", "t1")], None, same)
        await store.enroll("ada", [template("one", "t1")], None, same)
        await store.enroll("ada", [template("one", "t1")])
        await store.sweep(10)
        with pytest.raises(SubjectNotFound):
            await store.delete_subject("bob")
        assert len(await whole_log(store)) == 1

    async def test_entry_names_moment_and_key_and_only_the_digest_of_the_subject(
        self, store: Store, clock: Clock
    ) -> None:
        await store.enroll("ada", [template("one")], by="k1")
        (entry,) = await whole_log(store)
        assert (entry.at, entry.key_id, entry.subject_sha256) == (
            clock.now,
            "k1",
            subject_sha256("ada"),
        )
        assert "'ada'" not in repr(entry)

    async def test_receipt_of_a_deletion_is_its_entry(self, store: Store) -> None:
        await store.enroll("ada", [template("one")])
        deleted = await store.delete_subject("ada", by="k1")
        assert deleted.receipt == (await whole_log(store))[-1]

    async def test_chain_holds_and_breaks_where_it_is_touched(self, store: Store) -> None:
        for number in range(4):
            await store.enroll("ada", [template(f"{number}")])
        log = await whole_log(store)
        assert first_break(log) is None
        changed = replace(log[2], counts={"templates": 2})
        assert first_break([*log[:2], changed, log[3]]) == 3
        assert first_break([*log[:2], log[3]]) == 3
        assert first_break(log[1:]) == 1

    async def test_chain_is_unbroken_after_concurrent_writes(self, store: Store) -> None:
        await asyncio.gather(*(store.enroll(f"s{n}", [template(f"{n}")]) for n in range(30)))
        log = await whole_log(store)
        assert (len(log), first_break(log)) == (30, None)
