"""The audit log of a PostgreSQL database."""

import json
from collections.abc import Sequence
from datetime import datetime

from service.store.audit import START, AuditEntry, Event, next_entry
from service.store.damage import counts_of, damage_events, read_or_none
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import utc
from service.store.records import Damage

_COLUMNS = "number, at, action, subject_sha256, key_id, counts, previous, digest"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('likeness.audit', 3))"


async def append(connection: Connection, event: Event, now: datetime) -> AuditEntry:
    """Append an event of this transaction to the log, and return the entry.

    Call it last in a transaction, because all other writers then wait for the commit.
    """
    await connection.execute(_LOCK)
    last = await connection.execute(
        "SELECT number, digest FROM likeness.audit ORDER BY number DESC LIMIT 1"
    )
    number, previous = await last.fetchone() or (0, START)
    entry = next_entry(event, number + 1, previous, now)
    await connection.execute(
        f"INSERT INTO likeness.audit ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            entry.number,
            entry.at,
            entry.action,
            entry.subject_sha256,
            entry.key_id,
            json.dumps(entry.counts),
            entry.previous,
            entry.digest,
        ],
    )
    return entry


async def append_damage(connection: Connection, found: Sequence[Damage], now: datetime) -> None:
    """Log the subjects with damage, except those that are in the log already."""
    rows = await connection.execute(
        "SELECT DISTINCT subject_sha256 FROM likeness.audit WHERE action = 'damaged'"
    )
    known = {subject for (subject,) in await rows.fetchall()}
    for event in damage_events(found, known):
        await append(connection, event, now)


async def read(connection: Connection, after: int, limit: int) -> list[AuditEntry]:
    """Return at most `limit` entries after a number."""
    found = await connection.execute(
        f"SELECT {_COLUMNS} FROM likeness.audit WHERE number > %s ORDER BY number LIMIT %s",
        [after, limit],
    )
    return [_entry(*row) for row in await found.fetchall()]


def _entry(
    number: int,
    at: datetime,
    action: str,
    subject_sha256: str | None,
    key_id: str | None,
    counts: str,
    previous: str,
    digest: str,
) -> AuditEntry:
    return AuditEntry(
        number,
        utc(at),
        action,
        subject_sha256,
        key_id,
        read_or_none(lambda: counts_of(counts)) or {},
        previous,
        digest,
    )
