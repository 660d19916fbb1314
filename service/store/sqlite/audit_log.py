"""The audit log of a SQLite database, as functions of a connection."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from service.store.audit import START, AuditEntry, Event, next_entry
from service.store.damage import LONG_AGO, counts_of, damage_events, moment_of, read_or_none
from service.store.records import Damage
from service.store.sqlite.queries import stamp

_COLUMNS = "number, at, action, subject_sha256, key_id, counts, previous, digest"


def append(connection: sqlite3.Connection, event: Event, now: datetime) -> AuditEntry:
    """Append an event of this transaction to the log, and return the entry."""
    last = connection.execute(
        "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
    ).fetchall()
    number, previous = last[0] if last else (0, START)
    entry = next_entry(event, number + 1, previous, now)
    connection.execute(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.number,
            stamp(entry.at),
            entry.action,
            entry.subject_sha256,
            entry.key_id,
            json.dumps(entry.counts),
            entry.previous,
            entry.digest,
        ),
    )
    return entry


def append_damage(connection: sqlite3.Connection, found: Sequence[Damage], now: datetime) -> None:
    """Log the subjects with damage, except those that are in the log already."""
    known = {
        subject
        for (subject,) in connection.execute(
            "SELECT DISTINCT subject_sha256 FROM audit WHERE action = 'damaged'"
        )
    }
    for event in damage_events(found, known):
        append(connection, event, now)


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[AuditEntry]:
    """Return at most `limit` entries after a number."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    ).fetchall()
    return [_entry(*row) for row in rows]


def _entry(
    number: int,
    at: str,
    action: str,
    subject_sha256: str | None,
    key_id: str | None,
    counts: str,
    previous: str,
    digest: str,
) -> AuditEntry:
    return AuditEntry(
        number,
        read_or_none(lambda: moment_of(at)) or LONG_AGO,
        action,
        subject_sha256,
        key_id,
        read_or_none(lambda: counts_of(counts)) or {},
        previous,
        digest,
    )
