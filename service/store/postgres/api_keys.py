"""API keys in a PostgreSQL database."""

from collections.abc import Sequence
from datetime import datetime

from service.store.audit import Event
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import utc
from service.store.postgres.spaces import add_key
from service.store.records import ApiKey
from service.store.vault import WrappedKey, signing_use

_KEYS = """SELECT keys.key_id, name, scopes, salt, digest, per_s, at_once, created_at, revoked_at,
    signing_key_id, master, wrapped
    FROM likeness.keys LEFT JOIN likeness.data_keys ON data_keys.key_id = signing_key_id"""


async def add(connection: Connection, key: ApiKey, by: str | None) -> None:
    """Insert an API key and its signing secret."""
    if key.signing is not None:
        await add_key(connection, key.signing)
    await connection.execute(
        """INSERT INTO likeness.keys (key_id, name, scopes, salt, digest, per_s, at_once,
        created_at, signing_key_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            key.key_id,
            key.name,
            list(key.scopes),
            key.salt,
            key.digest,
            key.per_s,
            key.at_once,
            key.created_at,
            None if key.signing is None else key.signing.key_id,
        ],
    )
    await append(connection, Event("key_created", key_id=by), key.created_at)


async def find(connection: Connection, key_id: str) -> ApiKey | None:
    """Return an API key by its id, None if there is none."""
    found = await connection.execute(f"{_KEYS} WHERE keys.key_id = %s", [key_id])
    row = await found.fetchone()
    return None if row is None else _key(*row)


async def every(connection: Connection) -> list[ApiKey]:
    """Return all API keys, oldest first."""
    found = await connection.execute(f"{_KEYS} ORDER BY number")
    return [_key(*row) for row in await found.fetchall()]


async def revoke(connection: Connection, key_id: str, by: str | None, now: datetime) -> bool:
    """Revoke an API key, unless it is revoked already, and destroy its signing secret."""
    found = await connection.execute(
        "UPDATE likeness.keys SET revoked_at = coalesce(revoked_at, %s) WHERE key_id = %s",
        [now, key_id],
    )
    await connection.execute(
        """UPDATE likeness.data_keys SET master = NULL, wrapped = NULL
        WHERE key_id = (SELECT signing_key_id FROM likeness.keys WHERE key_id = %s)""",
        [key_id],
    )
    if found.rowcount:
        await append(connection, Event("key_revoked", key_id=by), now)
    return found.rowcount == 1


def _key(
    key_id: str,
    name: str,
    scopes: Sequence[str],
    salt: bytes,
    digest: bytes,
    per_s: float | None,
    at_once: int | None,
    created_at: datetime,
    revoked_at: datetime | None,
    signing_key_id: str | None,
    master: str | None,
    wrapped: bytes | None,
) -> ApiKey:
    return ApiKey(
        key_id,
        name,
        tuple(scopes),
        salt,
        digest,
        per_s,
        at_once,
        utc(created_at),
        None if revoked_at is None else utc(revoked_at),
        WrappedKey.from_row_or_none(signing_key_id, master, wrapped, signing_use(key_id)),
    )
