"""Subject names of earlier releases in a SQLite database."""

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from service.errors import StoreError
from service.store.names import log_left, new_names, odd_name
from service.store.records import OddName, Page
from service.store.sqlite.rename import rename
from service.store.sqlite.writer import roll_back
from service.store.vault import Vault


def settle(connection: sqlite3.Connection, vault: Vault, now: datetime) -> None:
    """Rename the marked subjects, unless two names would become the same; log the number left."""
    marked = _marked(connection)
    names = new_names(marked)
    if names:
        _rename(connection, vault, names, now)
        marked = _marked(connection)
    log_left(len(marked))


def _rename(
    connection: sqlite3.Connection, vault: Vault, names: Mapping[str, str], now: datetime
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for subject, to in names.items():
            # The name may be taken or the subject damaged; the others are renamed all the same.
            connection.execute("SAVEPOINT one")
            try:
                rename(connection, vault, subject, to, None, now)
            except StoreError:
                connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def _marked(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT subject FROM subjects WHERE odd_name ORDER BY subject")
    return [subject for (subject,) in found.fetchall()]


def odd_names(connection: sqlite3.Connection, after: str | None, limit: int) -> Page[OddName]:
    """Return at most `limit` marked subjects, in code point order."""
    rows = connection.execute(
        "SELECT subject FROM subjects WHERE odd_name AND subject > ? ORDER BY subject LIMIT ?",
        (after or "", limit + 1),
    ).fetchall()
    items = tuple(odd_name(subject) for (subject,) in rows[:limit])
    return Page(items, items[-1].subject if len(rows) > limit else None)
