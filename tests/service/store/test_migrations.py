"""A database is migrated to the version of the code, or refused."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.errors import UndefinedColumn

from models.cohort import NO_COHORT
from service.errors import StoreUnavailable
from service.store import Counts, Terms, Vault, open_store
from service.store.postgres import migrations as postgres
from service.store.sqlite.migrations import MIGRATIONS, create_schema, migrate
from service.store.unbound import METADATA, of_vector
from service.store.vault import Cipher
from tests.contracts.store.inside import run
from tests.contracts.store.samples import (
    FINGERPRINT,
    MASTER,
    assert_search_agrees,
    cohort_of,
    names_found,
    template,
    vector_of,
)
from tests.postgres import Cluster

AT = "2026-01-01T00:00:00.000000+00:00"
NEVER_FORGOTTEN = "9999-01-01T00:00:00.000000+00:00"
# One names a stored template, the other an erased one.
OLD_REQUESTS = (
    """('kept', 'digest', '[["t1", true], ["t1", false]]', ?)""",
    """('stale', 'digest', '[["t1", true], ["t2", true]]', ?)""",
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version_of(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def add_note(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE subjects ADD COLUMN note TEXT")


def fail_halfway(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE halfway (x)")
    connection.execute("CREATE TABLE subjects (x)")


def test_new_database_gets_the_newest_version(connection: sqlite3.Connection) -> None:
    migrate(connection)
    assert version_of(connection) == len(MIGRATIONS)


def test_current_database_is_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = connection.total_changes
    migrate(connection)
    assert connection.total_changes == before


def test_older_database_gets_the_missing_migrations_only(connection: sqlite3.Connection) -> None:
    migrate(connection, [create_schema])
    connection.execute("INSERT INTO subjects VALUES ('ada', 'now', '{}')")
    migrate(connection, [create_schema, add_note])
    assert version_of(connection) == 2
    assert connection.execute("SELECT subject, note FROM subjects").fetchall() == [("ada", None)]


def test_failing_step_leaves_the_version_before_it(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [create_schema, fail_halfway])
    assert version_of(connection) == 1
    found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'halfway'").fetchall()
    assert found == []


async def test_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    await (await open_store(url)).close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match=r"version 99.*newer release"):
        await open_store(url)


def test_templates_of_one_photo_share_the_id_of_the_oldest(connection: sqlite3.Connection) -> None:
    migrate(connection, [create_schema])
    connection.execute("INSERT INTO subjects VALUES ('ada', 'now', '{}')")
    for template_id, fingerprint, image in (("a", "f", "1"), ("b", "g", "1"), ("c", "f", "2")):
        connection.execute(
            "INSERT INTO templates VALUES (NULL, ?, 'ada', ?, ?, '{}', 'now', NULL, zeroblob(4))",
            (template_id, fingerprint, image),
        )
    migrate(connection)
    rows = connection.execute("SELECT template_id, fingerprint FROM templates ORDER BY number")
    assert rows.fetchall() == [("a", "f"), ("a", "g"), ("c", "f")]


async def test_gallery_of_an_older_sqlite_release_is_served_and_sealed(tmp_path: Path) -> None:
    url, vector = f"sqlite:///{tmp_path}/store.db", vector_of("one")
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:5])
        connection.execute("INSERT INTO subjects VALUES ('ada', ?, '{\"of\": \"ada\"}')", (AT,))
        connection.execute(
            "INSERT INTO templates VALUES (NULL, 't1', 'ada', ?, 'image', '{}', ?, NULL, ?)",
            (FINGERPRINT, AT, vector.tobytes()),
        )
        for request in OLD_REQUESTS:
            connection.execute(f"INSERT INTO idempotency VALUES {request}", (NEVER_FORGOTTEN,))
    await assert_served_and_sealed(url)
    assert run(url, "SELECT key FROM idempotency") == [("kept",)]
    assert run(url, "SELECT * FROM request_templates") == [("t1", "kept")]


async def test_gallery_of_an_older_postgres_release_is_served_and_sealed(cluster: Cluster) -> None:
    url = cluster.new_database()
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await postgres.migrate(connection, postgres.MIGRATIONS[:4])
        await register_vector_async(connection)
        await connection.execute(
            "INSERT INTO likeness.subjects VALUES ('ada', %s, '{\"of\": \"ada\"}')", [AT]
        )
        await connection.execute(
            """INSERT INTO likeness.templates (template_id, subject, fingerprint, image_sha256,
            quality, created_at, vector) VALUES ('t1', 'ada', %s, 'image', '{}', %s, %s)""",
            [FINGERPRINT, AT, Vector(vector_of("one"))],
        )
        await connection.execute(
            "INSERT INTO likeness.spaces (fingerprint, dimension) VALUES (%s, 8)", [FINGERPRINT]
        )
        await connection.execute(
            """CREATE TABLE likeness.search_1 (
            number bigint PRIMARY KEY REFERENCES likeness.templates ON DELETE CASCADE,
            vector halfvec(8) NOT NULL)"""
        )
        await connection.execute(
            "INSERT INTO likeness.search_1 SELECT number, vector::halfvec(8) "
            "FROM likeness.templates"
        )
        for request in OLD_REQUESTS:
            values = request.replace("?", f"'{NEVER_FORGOTTEN}'")
            await connection.execute(f"INSERT INTO likeness.idempotency VALUES {values}")
    await assert_served_and_sealed(url)
    assert run(url, "SELECT key FROM idempotency") == [("kept",)]
    assert run(url, "SELECT * FROM request_templates") == [("t1", "kept")]


@pytest.mark.parametrize("masters", [(), (MASTER,)], ids=["clear", "sealed"])
async def test_postgres_gallery_searched_by_cosines_is_searched_by_scores(
    cluster: Cluster, masters: tuple[bytes, ...]
) -> None:
    url, vault, cohort = cluster.new_database(), Vault(masters), cohort_of("everybody")
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await postgres.migrate(connection, postgres.MIGRATIONS[:8])
        await register_vector_async(connection)
        for at, (name, collection) in enumerate((("ada", ""), ("bob", ""), ("eve", "a")), 1):
            await enrol_in_version_8(connection, vault, at, name, collection)
    store = await open_store(url, vault=vault)
    for searched_by in (NO_COHORT, cohort):
        await store.compare_by(FINGERPRINT, searched_by)
        for collection in ("", "a"):
            await assert_search_agrees(store, datetime.now(UTC), collection, searched_by)
    assert set(await names_found(store, "ada")) == {"ada", "bob"}
    assert await names_found(store, "eve", collection="a") == ["eve"]
    await store.enroll("new", [template("new")])
    await store.delete_subject("ada")
    await assert_search_agrees(store, datetime.now(UTC), "", cohort)
    await store.close()


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


async def test_postgres_gallery_that_is_not_placed_yet_can_be_sealed(cluster: Cluster) -> None:
    url = cluster.new_database()
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await postgres.migrate(connection, postgres.MIGRATIONS[:8])
        await register_vector_async(connection)
        await enrol_in_version_8(connection, Vault(), 1, "ada", "")
    store = await open_store(url, vault=Vault([MASTER]))
    await store.reseal(10)
    await store.compare_by(FINGERPRINT, cohort_of("everybody"))
    assert await names_found(store, "ada") == ["ada"]
    await store.close()


async def enrol_in_version_8(
    connection: postgres.Connection, vault: Vault, number: int, name: str, collection: str
) -> None:
    """Enrol a subject as the earlier release did, and make its search table."""
    key_id, cipher = await new_key_in_version_8(connection, vault)
    of_table, _ = await new_key_in_version_8(connection, vault)
    if collection:
        await connection.execute(
            "INSERT INTO likeness.collections VALUES (%s, %s)", [collection, AT]
        )
    await connection.execute(
        """INSERT INTO likeness.subjects (subject, created_at, metadata, collection, key_id)
        VALUES (%s, %s, %s, %s, %s)""",
        [name, AT, cipher.seal(b"{}", METADATA), collection, key_id],
    )
    sealed = cipher.seal(Vector(vector_of(name)).to_binary(), of_vector("image", FINGERPRINT))
    await connection.execute(
        """INSERT INTO likeness.templates (template_id, subject, fingerprint, image_sha256,
        quality, created_at, vector) VALUES (%s, %s, %s, 'image', '{}', %s, %s)""",
        [f"t{number}", name, FINGERPRINT, AT, sealed],
    )
    made = await connection.execute(
        """INSERT INTO likeness.spaces (collection, fingerprint, dimension, key_id)
        VALUES (%s, %s, 8, %s) ON CONFLICT DO NOTHING RETURNING space""",
        [collection, FINGERPRINT, of_table],
    )
    for (space,) in await made.fetchall():
        await connection.execute(
            f"""CREATE TABLE likeness.search_{space} (
            number bigint PRIMARY KEY, vector halfvec(8) NOT NULL)"""
        )
        await connection.execute(
            f"""CREATE INDEX ON likeness.search_{space}
            USING hnsw (vector halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)"""
        )
        await connection.execute(
            f"INSERT INTO likeness.search_{space} VALUES (%s, %s)",
            [number, HalfVector(vector_of(name))],
        )


async def new_key_in_version_8(
    connection: postgres.Connection, vault: Vault
) -> tuple[str | None, Cipher]:
    if vault.current is None:
        return None, vault.cipher(None)
    key, cipher = vault.new_key()
    await connection.execute(
        "INSERT INTO likeness.data_keys VALUES (%s, %s, %s)", [key.key_id, key.master, key.blob]
    )
    return key.key_id, cipher


async def assert_served_and_sealed(url: str) -> None:
    """Find ada by her vector: unencrypted, then with a master key, then encrypted."""
    for vault in (Vault(), Vault([MASTER])):
        store = await open_store(url, vault=vault)
        await store.compare_by(FINGERPRINT, NO_COHORT)
        for _ in range(2):
            export = await store.export("ada")
            assert (export.metadata, export.terms) == ({"of": "ada"}, Terms())
            np.testing.assert_array_equal(export.templates[0].vector, vector_of("one"))
            assert await names_found(store, "one") == ["ada"]
            assert (await store.subject("ada")).collection == ""
            assert await store.count("") == Counts(subjects=1, templates=1)
            if vault.current is not None:
                await store.reseal(10)
        await store.close()
