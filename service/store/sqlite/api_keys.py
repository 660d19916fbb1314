"""API keys in a SQLite database, as functions of a connection."""

import json
import sqlite3
from datetime import datetime

from service.store.audit import Event
from service.store.damage import LONG_AGO, moment_of, read_or_none, scopes_of
from service.store.records import ApiKey
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import stamp
from service.store.sqlite.sealing import add_key
from service.store.sqlite.writer import WriteResult
from service.store.vault import WrappedKey, signing_use

_KEYS = """SELECT keys.key_id, name, scopes, salt, digest, per_s, at_once, created_at, revoked_at,
    signing_key_id, master, wrapped
    FROM keys LEFT JOIN data_keys ON data_keys.key_id = signing_key_id"""


def add(connection: sqlite3.Connection, key: ApiKey, by: str | None) -> WriteResult[None]:
    """Insert an API key and its signing secret."""
    if key.signing is not None:
        add_key(connection, key.signing)
    connection.execute(
        """INSERT INTO keys (key_id, name, scopes, salt, digest, per_s, at_once, created_at,
        signing_key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            key.key_id,
            key.name,
            json.dumps(key.scopes),
            key.salt,
            key.digest,
            key.per_s,
            key.at_once,
            stamp(key.created_at),
            None if key.signing is None else key.signing.key_id,
        ),
    )
    append(connection, Event("key_created", key_id=by), key.created_at)
    return WriteResult(None)


def find(connection: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """Return an API key by its id, None if there is none."""
    rows = connection.execute(f"{_KEYS} WHERE keys.key_id = ?", (key_id,)).fetchall()
    return _key(*rows[0]) if rows else None


def every(connection: sqlite3.Connection) -> list[ApiKey]:
    """Return all API keys, oldest first."""
    rows = connection.execute(f"{_KEYS} ORDER BY number").fetchall()
    return [_key(*row) for row in rows]


def revoke(
    connection: sqlite3.Connection, key_id: str, by: str | None, now: datetime
) -> WriteResult[bool]:
    """Revoke an API key, unless it is revoked already, and destroy its signing secret."""
    found = connection.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE key_id = ?",
        (stamp(now), key_id),
    )
    destroyed = connection.execute(
        """UPDATE data_keys SET master = NULL, wrapped = NULL
        WHERE key_id = (SELECT signing_key_id FROM keys WHERE key_id = ?)""",
        (key_id,),
    )
    if found.rowcount:
        append(connection, Event("key_revoked", key_id=by), now)
    return WriteResult(found.rowcount == 1, erases=destroyed.rowcount == 1)


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
    signing_key_id: str | None,
    master: str | None,
    wrapped: bytes | None,
) -> ApiKey:
    return ApiKey(
        key_id,
        name,
        # If the scopes are damaged, the key has none.
        tuple(read_or_none(lambda: scopes_of(scopes)) or ()),
        salt,
        digest,
        per_s,
        at_once,
        read_or_none(lambda: moment_of(created_at)) or LONG_AGO,
        None if revoked_at is None else read_or_none(lambda: moment_of(revoked_at)) or LONG_AGO,
        WrappedKey.from_row_or_none(signing_key_id, master, wrapped, signing_use(key_id)),
    )
