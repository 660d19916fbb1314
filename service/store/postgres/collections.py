"""Collections in a PostgreSQL database."""

from datetime import datetime

from service.errors import CollectionExists, CollectionNotFound
from service.store.audit import Event
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import utc
from service.store.records import Collection, Counts, Deletion, Page

# Subjects that one transaction erases; enrolments in the collection wait for its end.
AT_ONCE = 500


async def create(connection: Connection, name: str, by: str | None, now: datetime) -> Collection:
    """Create a collection. Raises CollectionExists, also for the default collection."""
    made = await connection.execute(
        "INSERT INTO likeness.collections VALUES (%s, %s) ON CONFLICT DO NOTHING", [name, now]
    )
    if not name or not made.rowcount:
        raise CollectionExists
    await append(connection, Event("collection_created", name, by), now)
    return await find(connection, name)


async def every(connection: Connection, after: str | None, limit: int) -> Page[Collection]:
    """Return at most `limit` collections after a name, in code point order."""
    found = await _collections(
        connection, "collection > %s ORDER BY collection LIMIT %s", after or "", limit + 1
    )
    return Page(tuple(found[:limit]), found[limit - 1].name if len(found) > limit else None)


async def find(connection: Connection, name: str) -> Collection:
    """Return a collection. Raises CollectionNotFound."""
    found = await _collections(connection, "collection = %s", name)
    if not found:
        raise CollectionNotFound
    return found[0]


async def hold(connection: Connection, name: str) -> None:
    """Lock a collection against deletion until the commit. Raises CollectionNotFound."""
    await _lock(connection, name, "KEY SHARE")


async def delete(
    connection: Connection, name: str, before: Deletion, by: str | None, now: datetime
) -> Deletion:
    """Erase some of a collection's subjects, and the collection if no subject is left.

    The result adds to the counts of the steps `before`, and has a receipt after the last step.
    Raises CollectionNotFound.
    """
    await _lock(connection, name, "UPDATE")
    # Locked too: a deleted subject may be enrolled again meanwhile, in another collection.
    found = await connection.execute(
        """SELECT subject FROM likeness.subjects WHERE collection = %s
        ORDER BY subject LIMIT %s FOR UPDATE""",
        [name, AT_ONCE + 1],
    )
    rows = await found.fetchall()
    names = [subject for (subject,) in rows[:AT_ONCE]]
    templates = await connection.execute(
        "DELETE FROM likeness.templates WHERE subject = ANY(%s)", [names]
    )
    await connection.execute("DELETE FROM likeness.subjects WHERE subject = ANY(%s)", [names])
    gone = Deletion(before.subjects + len(names), before.templates + templates.rowcount)
    if len(rows) > AT_ONCE:
        counts = {"subjects": len(names), "templates": templates.rowcount}
        await append(connection, Event("collection_emptied", name, by, counts), now)
        return gone
    for table in ("spaces", "counts", "collections"):
        await connection.execute(f"DELETE FROM likeness.{table} WHERE collection = %s", [name])
    counts = {"subjects": gone.subjects, "templates": gone.templates}
    receipt = await append(connection, Event("collection_deleted", name, by, counts), now)
    return Deletion(gone.subjects, gone.templates, receipt)


async def _lock(connection: Connection, name: str, strength: str) -> None:
    held = await connection.execute(
        f"SELECT FROM likeness.collections WHERE collection = %s FOR {strength}", [name]
    )
    if not held.rowcount:
        raise CollectionNotFound


async def _collections(connection: Connection, which: str, *parameters: object) -> list[Collection]:
    found = await connection.execute(
        f"""WITH page AS (SELECT * FROM likeness.collections WHERE {which})
        SELECT collection, created_at, coalesce(sum(subjects), 0)::bigint,
            coalesce(sum(templates), 0)::bigint
        FROM page LEFT JOIN likeness.counts USING (collection)
        GROUP BY collection, created_at ORDER BY collection""",
        parameters,
    )
    return [
        Collection(name, utc(at), Counts(subjects, templates))
        for name, at, subjects, templates in await found.fetchall()
    ]
