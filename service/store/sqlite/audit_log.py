"""Write and read the audit log of a SQLite database, as functions of a connection."""

import json
import sqlite3
from datetime import datetime

from service.store.audit import START, AuditEntry, Event, seal
from service.store.sqlite.queries import stamp

_COLUMNS = "number, at, action, subject_sha256, key_id, counts, previous, digest"


def append(connection: sqlite3.Connection, event: Event, now: datetime) -> AuditEntry:
    """Log what the transaction does."""
    last = connection.execute(
        "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
    ).fetchall()
    number, previous = last[0] if last else (0, START)
    entry = seal(event, number + 1, previous, now)
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


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[AuditEntry]:
    """Return at most `limit` entries beyond a number."""
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
        datetime.fromisoformat(at),
        action,
        subject_sha256,
        key_id,
        json.loads(counts),
        previous,
        digest,
    )
