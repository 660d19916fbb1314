"""The store's contract: encryption with a master key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from service.errors import InvalidSettings, StoreUnavailable
from service.store import Store, Terms, Vault, open_store, unbound
from service.store.audit import first_break
from service.store.unbound import reseal_value
from service.store.vault import Owner, WrappedKey
from tests.contracts.store.audit import logged, whole_log
from tests.contracts.store.inside import copy_of, everything, run
from tests.contracts.store.samples import (
    FINGERPRINT,
    MASTER,
    OTHER_MASTER,
    Clock,
    assert_search_agrees,
    cohort_of,
    names_found,
    template,
    vector_of,
)

TERMS = Terms("form 12, signed 2030-01-01", "door 3")


@asynccontextmanager
async def opened(url: str, *masters: bytes) -> AsyncIterator[Store]:
    """Open a store with other master keys than the test's."""
    store = await open_store(url, Clock(), Vault(masters))
    try:
        yield store
    finally:
        await store.close()


async def enrol_some(store: Store) -> None:
    """Enrol three subjects with every kind of value and with templates of two bundles."""
    for at, name in enumerate(("ada", "bob", "eve")):
        new = [template(f"{name}1", f"{at}-1", photo=b"photo of " + name.encode())]
        new.append(template(f"{name}2", f"{at}-2"))
        await store.enroll(name, new, {"of": name}, terms=TERMS)
        await store.add_vector(name, f"{at}-1", "other", vector_of(f"{name} other"))


async def enrol_some_in_clear(store: Store, url: str) -> None:
    """Enrol the subjects of `enrol_some` before there is a master key."""
    await store.close()
    async with opened(url) as clear:
        await enrol_some(clear)


async def assert_all_there(store: Store) -> None:
    """Check that all values of `enrol_some` can be found, decrypted and listed."""
    for at, name in enumerate(("ada", "bob", "eve")):
        assert (await names_found(store, f"{name}2"))[0] == name
        export = await store.export(name)
        assert (export.metadata, export.terms) == ({"of": name}, TERMS)
        assert [photo.photo for photo in export.photos] == [b"photo of " + name.encode()]
        wanted = [vector_of(f"{name}1"), vector_of(f"{name}2"), vector_of(f"{name} other")]
        np.testing.assert_array_equal([each.vector for each in export.templates], wanted)
        held = await store.templates_of(name)
        assert [each.template_id for each in held.templates] == [
            f"{at}-1",
            f"{at}-2",
            f"{at}-1",
        ]
    await assert_search_agrees(store, Clock().now)


# Statements of an attacker who can write to the database, to pass bob off as ada, or one photo of
# ada as another.
_KEEP = "CREATE TABLE kept AS SELECT * FROM subjects"
_TAKE = ", ".join(
    f"{column} = (SELECT {column} FROM kept WHERE kept.subject = "
    "CASE subjects.subject WHEN 'ada' THEN 'bob' ELSE 'ada' END)"
    for column in ("key_id", "metadata", "terms")
)
_MOVE = "UPDATE {table} SET subject = 'ada' WHERE subject = 'bob'"
_CROSS = """UPDATE {table} SET subject = CASE subject WHEN 'ada' THEN 'bob' ELSE 'ada' END
    WHERE subject IN ('ada', 'bob')"""
FORGERIES = {
    "names": (
        _KEEP,
        f"UPDATE subjects SET {_TAKE} WHERE subject IN ('ada', 'bob')",
        _CROSS.format(table="templates"),
        _CROSS.format(table="photos"),
    ),
    "one key for two": (
        _KEEP,
        f"UPDATE subjects SET {_TAKE} WHERE subject = 'ada'",
        "DELETE FROM templates WHERE subject = 'ada'",
        _MOVE.format(table="templates"),
        _MOVE.format(table="photos"),
    ),
    "vectors alone": (
        _KEEP,
        "UPDATE subjects SET key_id = (SELECT key_id FROM kept WHERE subject = 'bob') "
        "WHERE subject = 'ada'",
        "DELETE FROM templates WHERE subject = 'ada'",
        _MOVE.format(table="templates"),
    ),
    "collection": ("UPDATE subjects SET collection = 'vault' WHERE subject = 'ada'",),
    "template ids": (
        "UPDATE templates SET template_id = 'x' WHERE template_id = '0-1'",
        "UPDATE templates SET template_id = '0-1' WHERE template_id = '0-2'",
        "UPDATE templates SET template_id = '0-2' WHERE template_id = 'x'",
    ),
}


async def whose(store: Store, vector_name: str, collection: str = "") -> list[str]:
    """Return the subject and the template that a face is clearly most similar to."""
    found = await store.search(vector_of(vector_name), FINGERPRINT, 9, collection)
    return [f"{each.subject} {each.template_id}" for each in found if each.cosine > 0.99]


async def opened_of(store: Store, subject: str) -> list[str]:
    """Return which vectors of `enrol_some` can be decrypted as a subject's."""
    try:
        held = await store.templates_of(subject)
    except StoreUnavailable:
        return []
    return [
        f"{name}{at} as {each.template_id}"
        for each in held.templates
        for name in ("ada", "bob")
        for at in (1, 2)
        if each.fingerprint == FINGERPRINT and each.vector @ vector_of(f"{name}{at}") > 0.99
    ]


def unbind(url: str) -> None:
    """Encrypt a gallery as earlier releases did, and list its keys as unbound."""
    vault = Vault([MASTER])
    keys = "SELECT subject, collection, key_id, master, wrapped FROM subjects"
    for subject, collection, *key in run(url, f"{keys} JOIN data_keys USING (key_id)"):
        owner, cipher = Owner(subject, collection), vault.cipher(WrappedKey(*key))
        ((metadata, terms),) = run(
            url, "SELECT metadata, terms FROM subjects WHERE subject = ?", subject
        )
        run(
            url,
            "UPDATE subjects SET metadata = ?, terms = ? WHERE subject = ?",
            reseal_value(cipher, metadata, owner.metadata, unbound.METADATA),
            reseal_value(cipher, terms, owner.terms, unbound.TERMS),
            subject,
        )
        columns = "number, vector, template_id, image_sha256, fingerprint"
        for number, vector, *of in run(
            url, f"SELECT {columns} FROM templates WHERE subject = ?", subject
        ):
            old = reseal_value(cipher, vector, owner.vector(*of), unbound.of_vector(*of[1:]))
            run(url, "UPDATE templates SET vector = ? WHERE number = ?", old, number)
    run(url, "INSERT INTO unbound SELECT key_id FROM data_keys")


class SealContract:
    """Encrypt, decrypt, and change to another master key."""

    async def test_encrypted_store_returns_all_values(
        self, store: Store, url: str, vault: Vault
    ) -> None:
        await enrol_some(store)
        await assert_all_there(store)
        await store.close()
        async with opened(url, MASTER) as again:
            await assert_all_there(again)

    @pytest.mark.parametrize("masters", [(), (OTHER_MASTER,)])
    async def test_missing_master_key_stops_the_start_and_is_named(
        self, store: Store, url: str, vault: Vault, masters: tuple[bytes, ...]
    ) -> None:
        await store.enroll("ada", [template("one")])
        await store.close()
        with pytest.raises(InvalidSettings, match=rf"encrypted by the master key {vault.current};"):
            await open_store(url, Clock(), Vault(masters))

    async def test_store_that_was_never_sealed_opens_without_a_key(
        self, store: Store, url: str
    ) -> None:
        await store.close()
        async with opened(url) as clear:
            await clear.enroll("ada", [template("one")])

    async def test_clear_subjects_are_served_and_sealed_step_by_step(
        self, store: Store, url: str
    ) -> None:
        await enrol_some_in_clear(store, url)
        async with opened(url, MASTER) as again:
            await assert_all_there(again)
            steps = [await again.reseal(1) for _ in range(4)]
            assert [(step.sealed, step.left) for step in steps] == [(1, 2), (1, 1), (1, 0), (0, 0)]
            await assert_all_there(again)
            assert first_break(await whole_log(again)) is None

    @pytest.mark.parametrize("when", ["before", "amid", "after"])
    async def test_cohort_that_comes_before_amid_or_after_sealing_scores_all(
        self, store: Store, url: str, when: str
    ) -> None:
        await enrol_some_in_clear(store, url)
        cohort = cohort_of("one")
        async with opened(url, MASTER) as again:
            if when == "before":
                await again.compare_by(FINGERPRINT, cohort)
            await again.reseal(1)
            if when == "amid":
                await again.compare_by(FINGERPRINT, cohort)
                await assert_search_agrees(again, Clock().now, cohort=cohort)
            await again.reseal(9)
            if when == "after":
                await again.compare_by(FINGERPRINT, cohort)
            await assert_search_agrees(again, Clock().now, cohort=cohort)

    async def test_enrolling_again_seals_all_of_a_clear_subject(
        self, store: Store, url: str
    ) -> None:
        await enrol_some_in_clear(store, url)
        async with opened(url, MASTER) as again:
            await again.enroll("ada", [template("ada2", "0-2")])
            await assert_all_there(again)
            assert (await again.reseal(10)).sealed == 2

    async def test_rotation_resumes_and_ends_without_the_old_key(
        self, store: Store, url: str
    ) -> None:
        await enrol_some(store)
        await store.close()
        async with opened(url, OTHER_MASTER, MASTER) as both:
            assert (await both.reseal(1)).rewrapped == 1
        async with opened(url, OTHER_MASTER, MASTER) as both:
            await assert_all_there(both)
            await both.enroll("new", [template("new")])
            while (await both.reseal(1)).left:
                pass
            assert ("resealed", {"keys": 1, "subjects": 0}) in await logged(both)
        async with opened(url, OTHER_MASTER) as new:
            await new.delete_subject("new")
            await assert_all_there(new)

    async def test_deletion_destroys_the_key(self, store: Store, url: str) -> None:
        await store.enroll("ada", [template("one")])
        await store.enroll("bob", [template("two", "t2")])
        await store.enroll("eve", [template("three")])
        keys = dict(run(url, "SELECT subject, key_id FROM subjects"))
        await store.delete_subject("ada")
        await store.delete_template("bob", "t2")
        left = dict(run(url, "SELECT key_id, wrapped FROM data_keys"))
        assert (left[keys["ada"]], left[keys["bob"]]) == (None, None)
        assert left[keys["eve"]] is not None

    async def test_renamed_subject_keeps_its_key_until_it_is_deleted(
        self, store: Store, url: str
    ) -> None:
        await enrol_some(store)
        ((key_id,),) = run(url, "SELECT key_id FROM subjects WHERE subject = ?", "ada")
        await store.rename_subject("ada", "lovelace")
        assert (await store.export("lovelace")).photos[0].photo == b"photo of ada"
        await store.delete_subject("lovelace")
        assert run(url, "SELECT wrapped FROM data_keys WHERE key_id = ?", key_id) == [(None,)]

    async def test_erased_subjects_stay_erased_after_an_old_backup_is_restored(
        self, store: Store, url: str
    ) -> None:
        await enrol_some(store)
        await store.close()
        backup = copy_of(url)
        async with opened(url, MASTER) as later:
            await later.delete_subject("eve")
        # The backup holds no keys, so only today's keys exist.
        for key_id, master, wrapped in run(url, "SELECT key_id, master, wrapped FROM data_keys"):
            run(
                backup,
                "UPDATE data_keys SET master = ?, wrapped = ? WHERE key_id = ?",
                *(master, wrapped, key_id),
            )
        async with opened(backup, MASTER) as restored:
            assert [item.subject for item in (await restored.subjects(None, 9)).items] == [
                "ada",
                "bob",
            ]
            assert "eve" not in await names_found(restored, "eve1")
            assert (await restored.export("ada")).metadata == {"of": "ada"}
            assert (await logged(restored))[-1] == ("erased_again", {"subjects": 1, "templates": 3})

    async def test_changed_vector_is_refused_not_compared(self, store: Store, url: str) -> None:
        await store.enroll("ada", [template("one")])
        await store.enroll("bob", [template("two")])
        ((other,),) = run(url, "SELECT vector FROM templates WHERE subject = 'bob'")
        run(url, "UPDATE templates SET vector = ? WHERE subject = 'ada'", other)
        held = await store.templates_of("ada")
        assert (held.templates, [each.part for each in held.damaged]) == ((), ["vector"])

    @pytest.mark.parametrize("forgery", FORGERIES)
    async def test_sealed_rows_that_change_places_pass_for_no_other(
        self, store: Store, url: str, forgery: str
    ) -> None:
        await enrol_some(store)
        before = {name: await opened_of(store, name) for name in ("ada", "bob")}
        named = {
            f"{name}{at}": await whose(store, f"{name}{at}") for name in before for at in (1, 2)
        }
        await store.close()
        for statement in FORGERIES[forgery]:
            run(url, statement)
        try:
            again = await open_store(url, Clock(), Vault([MASTER]))
        except StoreUnavailable:
            return
        for name, opened_before in before.items():
            assert set(await opened_of(again, name)) <= set(opened_before)
        for face, right in named.items():
            try:
                assert set(await whose(again, face)) <= set(right)
                assert await whose(again, face, "vault") == []
            except StoreUnavailable:
                continue
        await again.close()

    async def test_gallery_sealed_by_an_earlier_release_is_bound_when_it_is_opened(
        self, store: Store, url: str
    ) -> None:
        await enrol_some(store)
        await store.close()
        unbind(url)
        old = run(url, "SELECT number, vector FROM templates")
        async with opened(url, MASTER) as bound:
            await assert_all_there(bound)
            assert run(url, "SELECT * FROM unbound") == []
            assert not {blob for _, blob in old} & {
                blob for (blob,) in run(url, "SELECT vector FROM templates")
            }
            # From now on, values in the form of earlier releases are not accepted.
            for number, blob in old:
                run(url, "UPDATE templates SET vector = ? WHERE number = ?", blob, number)
            assert await opened_of(bound, "ada") == []

    async def test_no_value_of_a_subject_is_stored_unencrypted(
        self, store: Store, url: str
    ) -> None:
        await store.close()
        vector = vector_of("one", 128)
        new = [template("one", "t1", vector=vector, photo=b"photo of ada" * 9)]
        secrets = [b"photo of ada", b"B-XY 1234", b"form 12", b"door 3"]
        secrets += [vector.astype(order).tobytes()[:32] for order in ("<f4", ">f4")]
        async with opened(url) as clear:
            await clear.enroll("ada", new, {"plate": "B-XY 1234"}, terms=TERMS)
        assert sum(secret in everything(url) for secret in secrets) == 5
        async with opened(url, MASTER) as sealed:
            await sealed.reseal(10)
            other = [template("one", "t2", vector=vector, photo=b"photo of ada" * 9)]
            await sealed.enroll("eve", other, {"plate": "B-XY 1234"}, terms=TERMS)
            raw = everything(url)
        assert FINGERPRINT.encode() in raw
        assert not [secret for secret in secrets if secret in raw]
