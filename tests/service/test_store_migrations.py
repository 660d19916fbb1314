"""A database is brought to the version of the code, or refused."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.store import open_store
from service.store.sqlite.migrations import MIGRATIONS, create_schema, migrate


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
