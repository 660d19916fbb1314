"""A database is brought to the version of the code, or refused."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection

from service.errors import StoreUnavailable
from service.store import Counts, Terms, Vault, open_store
from service.store.postgres import migrations as postgres
from service.store.sqlite.migrations import MIGRATIONS, create_schema, migrate
from tests.postgres import Cluster
from tests.service.store_samples import FINGERPRINT, MASTER, names_found, vector_of

AT = "2026-01-01T00:00:00.000000+00:00"


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


def test_older_database_gets_only_what_it_lacks(connection: sqlite3.Connection) -> None:
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
    await assert_served_and_sealed(url)


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
    await assert_served_and_sealed(url)


async def assert_served_and_sealed(url: str) -> None:
    """Find ada by her vector, in clear, then with a master key, then sealed."""
    for vault in (Vault(), Vault([MASTER])):
        store = await open_store(url, vault=vault)
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
