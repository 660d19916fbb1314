"""Bring a SQLite database to the schema of this release: a new one at once, an old one in steps."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from service.errors import StoreUnavailable
from service.store.names import is_odd, plain_key_name
from service.store.sqlite.schema import SCHEMA, VERSION
from service.store.versions import missing_steps

Step = Callable[[sqlite3.Connection], None]

# "LIKE" in ASCII: the mark of a database of this service.
APPLICATION_ID: Final = 0x4C494B45


def list_unbound(connection: sqlite3.Connection) -> None:
    """Create version 9, with the list of keys whose values are not bound yet (see `unbound`)."""
    for statement in (
        "CREATE TABLE unbound (key_id TEXT PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO unbound SELECT key_id FROM data_keys WHERE master IS NOT NULL",
    ):
        connection.execute(statement)


def link_requests(connection: sqlite3.Connection) -> None:
    """Create version 10, which forgets the result of a request with the templates that it names.

    A trigger does that, so that it happens in every kind of deletion.
    """
    for statement in (
        """CREATE TABLE request_templates (
            template_id TEXT NOT NULL,
            key TEXT NOT NULL REFERENCES idempotency (key) ON DELETE CASCADE,
            PRIMARY KEY (template_id, key)
        ) WITHOUT ROWID""",
        "CREATE INDEX request_templates_key ON request_templates (key)",
        """INSERT OR IGNORE INTO request_templates
            SELECT json_extract(value, '$[0]'), idempotency.key
            FROM idempotency, json_each(outcome)""",
        """DELETE FROM idempotency WHERE key IN (SELECT key FROM request_templates
            WHERE template_id NOT IN (SELECT template_id FROM templates))""",
        """CREATE TRIGGER forget_request AFTER DELETE ON templates
        WHEN NOT EXISTS (SELECT 1 FROM templates WHERE template_id = OLD.template_id)
        BEGIN
            DELETE FROM idempotency WHERE key IN
                (SELECT key FROM request_templates WHERE template_id = OLD.template_id);
        END""",
    ):
        connection.execute(statement)


def mark_names(connection: sqlite3.Connection) -> None:
    """Create version 11, with a mark for subjects whose name is not in today's form."""
    for statement in (
        "ALTER TABLE subjects ADD COLUMN odd_name INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX subjects_odd_name ON subjects (subject) WHERE odd_name",
    ):
        connection.execute(statement)
    subjects = connection.execute("SELECT subject FROM subjects").fetchall()
    connection.executemany(
        "UPDATE subjects SET odd_name = 1 WHERE subject = ?",
        [(subject,) for (subject,) in subjects if is_odd(subject)],
    )
    keys = connection.execute("SELECT name, number FROM keys").fetchall()
    connection.executemany(
        "UPDATE keys SET name = ? WHERE number = ?",
        [(plain_key_name(name), number) for name, number in keys],
    )


STEPS: Final[Mapping[int, Step]] = MappingProxyType(
    {9: list_unbound, 10: link_requests, 11: mark_names}
)
"""Each step by the version that it makes; a step that was released does not change."""


def migrate(connection: sqlite3.Connection, steps: Mapping[int, Step] = STEPS) -> None:
    """Create the schema in a new database, or apply the missing steps to an old one.

    Raises StoreUnavailable if the database is newer than this release, older than it upgrades, or
    of another program.
    """
    _check_ours(connection)
    version = _pragma(connection, "user_version")
    if not version:
        with _transaction(connection, VERSION):
            # One call, because a script first commits an open transaction.
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
        version = VERSION
    for number, step in missing_steps(version, steps):
        with _transaction(connection, number):
            # Immediate, to take the write lock before the step reads.
            connection.execute("BEGIN IMMEDIATE")
            step(connection)


@contextmanager
def _transaction(connection: sqlite3.Connection, version: int) -> Iterator[None]:
    """Commit the transaction that the block begins, with the version that it makes."""
    try:
        yield
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_ours(connection: sqlite3.Connection) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreUnavailable(
            "The database belongs to another program. Name another file for the store."
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
