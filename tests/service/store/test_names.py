"""Names of an earlier release get today's form, and no subject is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from service.edge.keys import make_key
from service.store import Store, Vault, open_store, utc_now
from service.store.audit import subject_sha256
from service.store.postgres import migrations as postgres
from service.store.sqlite import migrations as sqlite
from tests.contracts.store.samples import MASTER, names_found, template, vector_of
from tests.postgres import Cluster

JOSE, JOSE_TOO = "Jos\u00e9", "Jose\u0301"
RENAMED = {"Zoe\u0308": "Zo\u00eb", "\u200fbob": "bob", "ann\u00a0lee ": "ann lee"}
KEPT = ["eve", JOSE, "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"]
LEFT = {JOSE_TOO: JOSE, " ada": "ada", "ada ": "ada", "..": None, "\ue000": None}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'likeness.db'}"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.new_database()


@pytest.fixture(params=[(), (MASTER,)], ids=["clear", "sealed"])
def vault(request: pytest.FixtureRequest) -> Vault:
    return Vault(request.param)


async def stored_by_an_earlier_release(url: str, vault: Vault) -> None:
    store = await open_store(url, vault=vault)
    for name in (*RENAMED, *KEPT, *LEFT):
        await store.enroll(name, [template(name, photo=b"photo")], {"of": name})
    await store.add_key(make_key("Zoe\u0308 ", ["admin"], None, None, utc_now())[0])
    await store.close()
    await take_the_step_again(url)


async def take_the_step_again(url: str) -> None:
    """Remove the marks, and run the migration that marks names."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("DROP INDEX subjects_odd_name")
            connection.execute("ALTER TABLE subjects DROP COLUMN odd_name")
            sqlite.mark_names(connection)
            connection.commit()
    else:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
            await database.execute("ALTER TABLE likeness.subjects DROP COLUMN odd_name")
            await postgres.mark_names(database)


async def names_in(store: Store) -> set[str]:
    return {each.subject for each in (await store.subjects(None, 100)).items}


async def test_names_get_the_form_of_today_unless_two_would_become_one(
    url: str, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    await stored_by_an_earlier_release(url, vault)
    store = await open_store(url, vault=vault)
    assert await names_in(store) == {*RENAMED.values(), *KEPT, *LEFT}
    for name in (*RENAMED, *KEPT, *LEFT):
        held = await store.export(RENAMED.get(name, name))
        assert (held.metadata, held.photos[0].photo) == ({"of": name}, b"photo")
        assert (held.templates[0].vector == vector_of(name)).all()
        assert (await names_found(store, name, 1)) == [RENAMED.get(name, name)]
    left = await store.odd_names(None, 100)
    assert {each.subject: each.name for each in left.items} == LEFT
    assert all(each.reason for each in left.items)
    assert f"{len(LEFT)} subjects keep names" in caplog.text
    assert not any(name in caplog.text for name in LEFT if name != "..")
    assert (await store.keys())[0].name == "Zo\u00eb"
    log = {entry.subject_sha256: entry.action for entry in await store.audit(0, 100)}
    for name, to in RENAMED.items():
        assert log[subject_sha256(name)] == "renamed_from"
        assert log[subject_sha256(to)] == "renamed_to"
    await store.close()


async def test_damaged_subject_keeps_its_name_and_does_not_stop_the_start(
    url: str, vault: Vault
) -> None:
    await stored_by_an_earlier_release(url, vault)
    damaged, renamed = "Zoe\u0308", "Zo\u00eb"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            lite.execute("UPDATE subjects SET metadata = x'00' WHERE subject = ?", (damaged,))
            lite.commit()
    else:
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(
                "UPDATE likeness.subjects SET metadata = %s WHERE subject = %s", [b"\0", damaged]
            )
    store = await open_store(url, vault=vault)
    assert await names_in(store) == {*RENAMED.values(), *KEPT, *LEFT, damaged} - {renamed}
    await store.close()


async def test_odd_names_are_listed_until_renamed_or_erased(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await stored_by_an_earlier_release(url, Vault())
    store = await open_store(url)
    await store.rename_subject(JOSE_TOO, "Jos\u00e9 of Lima")
    for name in ("..", "\ue000"):
        await store.delete_subject(name)
    first = await store.odd_names(None, 1)
    rest = await store.odd_names(first.next, 100)
    assert [each.subject for each in (*first.items, *rest.items)] == [" ada", "ada "]
    # The other subject of this name was deleted, so the next start renames this one.
    await store.delete_subject(" ada")
    await store.close()
    caplog.clear()
    store = await open_store(url)
    assert await names_in(store) == {*RENAMED.values(), *KEPT, "Jos\u00e9 of Lima", "ada"}
    assert "subjects keep names" not in caplog.text
    await store.close()


async def test_names_enrolled_by_a_replica_of_an_earlier_release_are_checked_too(
    cluster: Cluster,
) -> None:
    url = cluster.new_database()
    store = await open_store(url)
    await store.enroll("eve", [template("eve")])
    await store.enroll(JOSE_TOO, [template("jose")])
    # An earlier release names only the columns that it knows.
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("UPDATE likeness.subjects SET odd_name = DEFAULT")
    again = await open_store(url)
    assert await names_in(store) == {"eve", JOSE}
    assert (await again.odd_names(None, 10)).items == ()
    for each in (store, again):
        await each.close()
