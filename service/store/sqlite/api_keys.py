"""Keep API keys in a SQLite database, as functions of a connection."""

import json
import sqlite3
from datetime import datetime

from service.store.audit import Event
from service.store.records import ApiKey
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import stamp
from service.store.sqlite.writer import Done

_COLUMNS = "key_id, name, scopes, salt, digest, per_s, at_once, created_at, revoked_at"


def add(connection: sqlite3.Connection, key: ApiKey, by: str | None) -> Done[None]:
    """Keep a key."""
    connection.execute(
        f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            key.key_id,
            key.name,
            json.dumps(key.scopes),
            key.salt,
            key.digest,
            key.per_s,
            key.at_once,
            stamp(key.created_at),
        ),
    )
    append(connection, Event("key_created", key_id=by), key.created_at)
    return Done(None)


def find(connection: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """Return a key by its id."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM keys WHERE key_id = ?", (key_id,)).fetchall()
    return _key(*rows[0]) if rows else None


def every(connection: sqlite3.Connection) -> list[ApiKey]:
    """Return all keys, oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY number").fetchall()
    return [_key(*row) for row in rows]


def revoke(
    connection: sqlite3.Connection, key_id: str, by: str | None, now: datetime
) -> Done[bool]:
    """Note when a key was revoked, the first time."""
    found = connection.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE key_id = ?",
        (stamp(now), key_id),
    )
    if found.rowcount:
        append(connection, Event("key_revoked", key_id=by), now)
    return Done(found.rowcount == 1)


def _key(
    key_id: str,
    name: str,
    scopes: str,
    salt: bytes,
    digest: bytes,
    per_s: float | None,
    at_once: int | None,
    created_at: str,
    revoked_at: str | None,
) -> ApiKey:
    return ApiKey(
        key_id,
        name,
        tuple(json.loads(scopes)),
        salt,
        digest,
        per_s,
        at_once,
        datetime.fromisoformat(created_at),
        None if revoked_at is None else datetime.fromisoformat(revoked_at),
    )
