"""A database gets the schema of the code, with all that is in it, or is refused."""

import gzip
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.errors import UndefinedColumn

from models.cohort import NO_COHORT
from service.errors import StoreUnavailable, SubjectNotFound
from service.store import Counts, Deletion, Idempotency, Store, Vault, open_store
from service.store.audit import first_break, subject_sha256
from service.store.postgres import migrations as postgres
from service.store.postgres import schema as postgres_schema
from service.store.sqlite.migrations import STEPS, migrate
from service.store.sqlite.schema import VERSION
from tests.contracts.store.inside import everything, run
from tests.contracts.store.samples import (
    FINGERPRINT,
    MASTER,
    assert_search_agrees,
    cohort_of,
)
from tests.postgres import BIN, Cluster
from tests.service.store.fixtures import make
from tests.service.store.fixtures.make import (
    CLEAR,
    KEYS,
    LATER,
    ODD,
    OLDEST,
    RENAMED,
    SEALED,
    Person,
)

# Commits whose code made a database for each engine.
COMMITS = (OLDEST, "2ddb2ea")
SQLITE = "sqlite:///"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new database."""
    if request.param == "sqlite":
        return f"{SQLITE}{tmp_path}/store.db"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.new_database()


@pytest.fixture
def old(empty: str, commit: str) -> str:
    """Return the URL of a database that the code of a commit made."""
    if empty.startswith(SQLITE):
        packed = (make.FOLDER / f"{commit}.db.gz").read_bytes()
        Path(empty.removeprefix(SQLITE)).write_bytes(gzip.decompress(packed))
    else:
        with psycopg.connect(empty, autocommit=True) as database:
            database.execute((make.FOLDER / f"{commit}.sql").read_bytes())
    return empty


def version_of(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def add_note(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE subjects ADD COLUMN note TEXT")


def fail_halfway(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE halfway (x)")
    connection.execute("CREATE TABLE subjects (x)")


# Versions


def test_new_database_gets_the_newest_version(connection: sqlite3.Connection) -> None:
    migrate(connection)
    assert version_of(connection) == VERSION


def test_schema_of_a_new_database_has_the_version_of_the_last_step() -> None:
    assert max(STEPS) == VERSION
    assert max(postgres.STEPS) == postgres_schema.VERSION


def test_current_database_is_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = connection.total_changes
    migrate(connection)
    assert connection.total_changes == before


def test_older_database_gets_the_missing_steps_only(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO subjects (subject, created_at, metadata) VALUES ('a', '', '')")
    migrate(connection, {**STEPS, VERSION + 1: add_note})
    assert version_of(connection) == VERSION + 1
    assert connection.execute("SELECT subject, note FROM subjects").fetchall() == [("a", None)]


def test_failing_step_leaves_the_version_before_it(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, {**STEPS, VERSION + 1: fail_halfway})
    assert version_of(connection) == VERSION
    found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'halfway'").fetchall()
    assert found == []


@pytest.mark.parametrize(
    ("version", "says"),
    [(99, "version 99.*newer release"), (7, "version 7.*upgrades 8 or later.*commit 2ddb2ea")],
    ids=["newer", "too old"],
)
async def test_database_of_a_version_that_is_not_known_is_refused(
    empty: str, version: int, says: str
) -> None:
    await (await open_store(empty)).close()
    if empty.startswith(SQLITE):
        run(empty, f"PRAGMA user_version = {version}")
    else:
        run(empty, "UPDATE schema SET version = ?", version)
    with pytest.raises(StoreUnavailable, match=says):
        await open_store(empty)


async def test_replica_of_an_earlier_release_makes_no_table_that_the_new_one_would_search(
    cluster: Cluster,
) -> None:
    url = cluster.new_database()
    await (await open_store(url)).close()
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        with pytest.raises(UndefinedColumn):
            await connection.execute(
                """INSERT INTO likeness.spaces (collection, fingerprint, dimension, key_id)
                VALUES ('', %s, 8, NULL)""",
                [FINGERPRINT],
            )


# The schema


async def upgrade_in_steps(url: str) -> None:
    """Upgrade as the releases of each version would, one after the other."""
    if url.startswith(SQLITE):
        with closing(sqlite3.connect(url.removeprefix(SQLITE), isolation_level=None)) as lite:
            for last in range(version_of(lite) + 1, VERSION + 1):
                migrate(lite, {number: step for number, step in STEPS.items() if number <= last})
                assert version_of(lite) == last
        return
    steps = postgres.STEPS
    async with await AsyncConnection.connect(url, autocommit=True) as database:
        ((version,),) = run(url, "SELECT version FROM schema")
        for last in range(version + 1, postgres_schema.VERSION + 1):
            await postgres.migrate(database, {n: step for n, step in steps.items() if n <= last})
            assert run(url, "SELECT version FROM schema") == [(last,)]


def schema_of(url: str) -> list[str]:
    """Return the statements that would make a schema, by name, without the search tables."""
    if url.startswith(SQLITE):
        # SQLite quotes the names of tables that were renamed.
        query = """SELECT replace(sql, '"', '') FROM sqlite_master
            WHERE sql IS NOT NULL ORDER BY type, name"""
        statements = [sql for (sql,) in run(url, query)]
    else:
        command = [str(BIN / "pg_dump"), "--schema-only", "--exclude-table=likeness.search_*", url]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        statements = re.sub(r"^(--|\\).*\n", "", dump, flags=re.M).split(";\n")
    # Without differences of indentation.
    return [
        re.sub(r"\s+", " ", re.sub(r"\s*([(),;])\s*", r"\1", statement)).strip()
        for statement in statements
    ]


@pytest.mark.parametrize("commit", COMMITS)
async def test_upgraded_database_has_the_schema_of_a_new_one(
    old: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    new = f"{SQLITE}{tmp_path}/new.db"
    if not old.startswith(SQLITE):
        new = request.getfixturevalue("cluster").new_database()
    await upgrade_in_steps(old)
    await (await open_store(new)).close()
    assert schema_of(old) == schema_of(new)


# The data


async def assert_all_there(store: Store, commit: str) -> None:
    """Check that everything that `make.fill` stored reads back equal."""
    odd = ODD if commit == OLDEST else ()
    for person in (*CLEAR, *SEALED, *odd):
        name = RENAMED.get(person.name, person.name)
        export, detail = await store.export(name), await store.subject(name)
        assert (detail.collection, detail.created_at) == (person.collection, make.AT)
        assert (export.metadata, export.terms) == (person.metadata, person.terms)
        new = list(person.templates())
        kept = [(each.image_sha256, each.photo) for each in new if each.photo]
        assert sorted((each.image_sha256, each.photo) for each in export.photos) == sorted(kept)
        held = [each for each in export.templates if each.fingerprint == FINGERPRINT]
        assert [(t.template_id, t.image_sha256, t.quality, t.expires_at) for t in held] == [
            (t.template_id, t.image_sha256, t.quality, t.expires_at) for t in new
        ]
        for stored, given in zip(held, new, strict=True):
            np.testing.assert_array_equal(stored.vector, given.vector)
        found = await store.search(new[-1].vector, FINGERPRINT, 1, person.collection)
        assert [candidate.subject for candidate in found] == [name]
    left = {each.subject for each in (await store.odd_names(None, 10)).items}
    assert left == (set(make.LEFT) if commit == OLDEST else set())
    assert [each.name for each in (await store.collections(None, 10)).items] == ["staff"]
    assert await store.count("staff") == Counts(2, 4)
    assert await store.count("") == Counts(5 + len(odd), 10 + len(odd))
    assert await store.fingerprints() == {FINGERPRINT: 13 + len(odd), "other": 1}
    (other,) = [t for t in (await store.export("ada")).templates if t.fingerprint == "other"]
    np.testing.assert_array_equal(other.vector, make.vector_of("ada other"))
    assert await store.switched_to() == FINGERPRINT


async def assert_keys_are_there(store: Store, vault: Vault) -> None:
    door, revoked, signs = await store.keys()
    assert door == KEYS[0]
    assert (revoked.key_id, revoked.scopes, revoked.revoked_at) == (
        "b" * 16,
        KEYS[1].scopes,
        make.AT,
    )
    assert (signs.key_id, signs.name) == (make.KEY_ID, "Zo\u00eb")
    assert signs.signing is not None
    assert vault.unwrap(signs.signing) == make.SECRET


async def assert_log_is_there(store: Store, commit: str) -> None:
    log = await store.audit(0, 1000)
    assert first_break(log) is None
    logged = {(entry.action, entry.subject_sha256, entry.key_id) for entry in log}
    for person in (*CLEAR, *SEALED, *(ODD if commit == OLDEST else ())):
        assert ("enrolled", subject_sha256(person.name), "a" * 16) in logged
    assert ("subject_deleted", subject_sha256("mallory"), None) in logged
    assert ("renamed_to", subject_sha256("wanda"), None) in logged


@pytest.mark.parametrize("commit", COMMITS)
async def test_everything_of_an_earlier_release_is_served_and_sealed(old: str, commit: str) -> None:
    vault = Vault([MASTER])
    store = await open_store(old, lambda: LATER, vault)
    await store.compare_by("other", NO_COHORT)
    for cohort in (NO_COHORT, cohort_of("people")):
        await store.compare_by(FINGERPRINT, cohort)
        await assert_all_there(store, commit)
        for collection in ("", "staff"):
            await assert_search_agrees(store, LATER, collection, cohort)
    await assert_keys_are_there(store, vault)
    while (await store.reseal(3)).left:
        pass
    await store.close()
    store = await open_store(old, lambda: LATER, vault)
    await store.compare_by(FINGERPRINT, cohort_of("people"))
    await assert_all_there(store, commit)
    await assert_keys_are_there(store, vault)
    await assert_log_is_there(store, commit)
    await store.close()


@pytest.mark.parametrize("commit", COMMITS)
async def test_requests_of_an_earlier_release_are_replayed_unless_their_templates_are_erased(
    old: str, commit: str
) -> None:
    store = await open_store(old, lambda: LATER, Vault([MASTER]))
    ada = list(CLEAR[0].templates())
    again = await store.enroll("ada", ada, idempotency=Idempotency("request of ada", "digest"))
    assert again.replayed
    assert [each.template_id for each in again.templates] == [each.template_id for each in ada]
    await store.close()
    kept = {key for (key,) in run(old, "SELECT key FROM idempotency")}
    assert {"request of ada", "request of bob", "request of dora"} <= kept
    assert "request of mallory" not in kept
    named = run(old, "SELECT template_id FROM request_templates WHERE key = 'request of bob'")
    assert named == [(next(CLEAR[1].templates()).template_id,)]


@pytest.mark.parametrize("commit", [OLDEST])
async def test_gallery_that_is_not_placed_yet_can_be_sealed(old: str) -> None:
    store = await open_store(old, lambda: LATER, Vault([MASTER]))
    await store.reseal(100)
    await store.compare_by(FINGERPRINT, cohort_of("everybody"))
    await assert_all_there(store, OLDEST)
    await store.close()


@pytest.mark.parametrize("commit", COMMITS)
async def test_what_an_earlier_release_stored_expires_and_is_erased(old: str, commit: str) -> None:
    times = [LATER]
    store = await open_store(old, lambda: times[-1], Vault([MASTER]))
    await store.compare_by(FINGERPRINT, NO_COHORT)
    assert len((await store.templates_of("cleo")).templates) == 1
    assert await store.sweep(10) == Deletion(0, 1)
    times.append(LATER + timedelta(days=31))
    assert await store.sweep(10) == Deletion(1, 1)
    with pytest.raises(SubjectNotFound):
        await store.export("bob")
    ada, fay, dora = CLEAR[0], SEALED[0], CLEAR[3]
    before = everything(old)
    assert any(value in before for value in values_of(ada))
    for name in ("ada", "fay", "dora"):
        await store.delete_subject(name)
    for person in (ada, fay, dora):
        probe = next(person.templates()).vector
        found = await store.search(probe, FINGERPRINT, 10, person.collection)
        assert person.name not in {candidate.subject for candidate in found}
    assert first_break(await store.audit(0, 1000)) is None
    await store.close()
    after = everything(old)
    assert not any(value in after for value in (*values_of(ada), *values_of(dora)))
    assert run(old, "SELECT key FROM idempotency WHERE key = 'request of ada'") == []


def values_of(person: Person) -> Iterator[bytes]:
    """Yield the photos of a person, and the vectors in the byte order of either engine."""
    for each in person.templates():
        yield from (each.vector.astype(order).tobytes() for order in ("<f4", ">f4"))
        yield from filter(None, [each.photo])
