"""API keys: add, find and revoke them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, null, select, update

from service.store.audit import Event
from service.store.damage import LONG_AGO, moment_of, read_or_none, scopes_of
from service.store.records import ApiKey
from service.store.sql.audit_log import append
from service.store.sql.session import Session
from service.store.sql.tables import data_keys, insert_row, keys
from service.store.vault import WrappedKey, signing_use

_ADD_DATA_KEY: Final = insert_row(data_keys)
_ADD: Final = insert_row(keys, "number", "revoked_at")
_KEYS: Final = select(
    *(column for column in keys.c if column.name != "number"),
    data_keys.c.master,
    data_keys.c.wrapped,
).outerjoin(data_keys, data_keys.c.key_id == keys.c.signing_key_id)
_FIND: Final = _KEYS.where(keys.c.key_id == bindparam("key_id"))
_ALL: Final = _KEYS.order_by(keys.c.number)
_REVOKE: Final = (
    update(keys)
    .where(keys.c.key_id == bindparam("key_id"))
    .values(
        revoked_at=func.coalesce(keys.c.revoked_at, bindparam("now", type_=keys.c.revoked_at.type))
    )
)
_DESTROY: Final = (
    update(data_keys)
    .where(
        data_keys.c.key_id
        == select(keys.c.signing_key_id)
        .where(keys.c.key_id == bindparam("key_id"))
        .scalar_subquery()
    )
    .values(master=null(), wrapped=null())
)


async def add(session: Session, key: ApiKey, by: str | None) -> None:
    """Insert an API key and its signing secret."""
    if key.signing is not None:
        await add_data_key(session, key.signing)
    await session.run(
        _ADD,
        key_id=key.key_id,
        name=key.name,
        scopes=list(key.scopes),
        salt=key.salt,
        digest=key.digest,
        per_s=key.per_s,
        at_once=key.at_once,
        created_at=key.created_at,
        signing_key_id=None if key.signing is None else key.signing.key_id,
    )
    await append(session, Event("key_created", key_id=by), key.created_at)


async def add_data_key(session: Session, key: WrappedKey) -> None:
    """Insert an encrypted key."""
    await session.run(_ADD_DATA_KEY, key_id=key.key_id, master=key.master, wrapped=key.blob)


async def find(session: Session, key_id: str) -> ApiKey | None:
    """Return an API key by its id, None if there is none."""
    rows = await session.rows(_FIND, key_id=key_id)
    return _key(*rows[0]) if rows else None


async def all_keys(session: Session) -> list[ApiKey]:
    """Return all API keys, oldest first."""
    return [_key(*row) for row in await session.rows(_ALL)]


async def revoke(session: Session, key_id: str, by: str | None, now: datetime) -> bool:
    """Revoke an API key, unless it is revoked already, and destroy its signing secret."""
    revoked = await session.run(_REVOKE, key_id=key_id, now=now)
    if await session.run(_DESTROY, key_id=key_id):
        session.erase()
    if revoked:
        await append(session, Event("key_revoked", key_id=by), now)
    return revoked == 1


def _key(
    key_id: str,
    name: str,
    scopes: str | Sequence[str],
    salt: bytes,
    digest: bytes,
    per_s: float | None,
    at_once: int | None,
    created_at: str | datetime,
    revoked_at: str | datetime | None,
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
