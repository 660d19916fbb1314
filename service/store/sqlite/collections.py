"""Collections in a SQLite database, as functions of a connection."""

import sqlite3
from datetime import datetime

from service.errors import CollectionExists, CollectionNotFound
from service.store.audit import Event
from service.store.damage import LONG_AGO, moment_of, read_or_none
from service.store.records import Collection, Counts, Deletion, Page
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import stamp
from service.store.sqlite.writer import WriteResult

# Subjects that one transaction erases; other writes wait for its end.
AT_ONCE = 500

_COLLECTIONS = """SELECT collection, created_at, subjects, templates
    FROM collections JOIN counts USING (collection)"""


def create(
    connection: sqlite3.Connection, name: str, by: str | None, now: datetime
) -> WriteResult[Collection]:
    """Create a collection. Raises CollectionExists, also for the default collection."""
    made = connection.execute(
        "INSERT INTO collections VALUES (?, ?) ON CONFLICT DO NOTHING", (name, stamp(now))
    )
    if not name or not made.rowcount:
        raise CollectionExists
    connection.execute(
        "INSERT INTO counts (collection, subjects, templates) VALUES (?, 0, 0)", (name,)
    )
    append(connection, Event("collection_created", name, by), now)
    return WriteResult(find(connection, name))


def every(connection: sqlite3.Connection, after: str | None, limit: int) -> Page[Collection]:
    """Return at most `limit` collections after a name, in code point order."""
    rows = connection.execute(
        f"{_COLLECTIONS} WHERE collection > ? ORDER BY collection LIMIT ?",
        (after or "", limit + 1),
    ).fetchall()
    items = tuple(_collection(*row) for row in rows[:limit])
    return Page(items, items[-1].name if len(rows) > limit else None)


def find(connection: sqlite3.Connection, name: str) -> Collection:
    """Return a collection. Raises CollectionNotFound."""
    rows = connection.execute(f"{_COLLECTIONS} WHERE collection = ?", (name,)).fetchall()
    if not rows:
        raise CollectionNotFound
    return _collection(*rows[0])


def delete(
    connection: sqlite3.Connection, name: str, before: Deletion, by: str | None, now: datetime
) -> WriteResult[Deletion]:
    """Erase some of a collection's subjects, and the collection if no subject is left.

    The result adds to the counts of the steps `before`, and has a receipt after the last step.
    Raises CollectionNotFound.
    """
    find(connection, name)
    some = {"name": name, "limit": AT_ONCE}
    chosen = "(SELECT subject FROM subjects WHERE collection = :name ORDER BY subject LIMIT :limit)"
    removed = connection.execute(
        f"DELETE FROM templates WHERE subject IN {chosen} RETURNING template_id", some
    ).fetchall()
    subjects = connection.execute(f"DELETE FROM subjects WHERE subject IN {chosen}", some).rowcount
    counts = {"subjects": subjects, "templates": len(removed)}
    gone = Deletion(before.subjects + subjects, before.templates + len(removed))
    ids = [template_id for (template_id,) in removed]
    if find(connection, name).counts.subjects:
        append(connection, Event("collection_emptied", name, by, counts), now)
        return WriteResult(gone, ids)
    connection.execute("DELETE FROM collections WHERE collection = ?", (name,))
    connection.execute("DELETE FROM counts WHERE collection = ?", (name,))
    counts = {"subjects": gone.subjects, "templates": gone.templates}
    receipt = append(connection, Event("collection_deleted", name, by, counts), now)
    return WriteResult(Deletion(gone.subjects, gone.templates, receipt), ids, erases=True)


def _collection(name: str, created_at: str, subjects: int, templates: int) -> Collection:
    created = read_or_none(lambda: moment_of(created_at)) or LONG_AGO
    return Collection(name, created, Counts(subjects, templates))
