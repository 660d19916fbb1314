"""The audit log: append to it and read it."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from service.store.audit import START, AuditEntry, Event, next_entry
from service.store.damage import LONG_AGO, counts_of, damage_events, moment_of, read_or_none
from service.store.records import Damage
from service.store.sql.session import AUDIT_LOCK, Session
from service.store.sql.tables import audit, insert_row

_LAST: Final = select(audit.c.number, audit.c.digest).order_by(audit.c.number.desc()).limit(1)
_APPEND: Final = insert_row(audit)
_READ: Final = (
    select(audit)
    .where(audit.c.number > bindparam("after"))
    .order_by(audit.c.number)
    .limit(bindparam("limit"))
)
_DAMAGED: Final = select(audit.c.subject_sha256).where(audit.c.action == "damaged").distinct()


async def append(session: Session, event: Event, now: datetime) -> AuditEntry:
    """Append an event of this transaction to the log, and return the entry.

    Call it last in a transaction, because all other writers then wait for the commit.
    """
    await session.lock("likeness.audit", AUDIT_LOCK)
    last = await session.rows(_LAST)
    number, previous = last[0] if last else (0, START)
    entry = next_entry(event, number + 1, previous, now)
    await session.run(
        _APPEND,
        number=entry.number,
        at=entry.at,
        action=entry.action,
        subject_sha256=entry.subject_sha256,
        key_id=entry.key_id,
        counts=json.dumps(entry.counts),
        previous=entry.previous,
        digest=entry.digest,
    )
    return entry


async def append_damage(session: Session, found: Sequence[Damage], now: datetime) -> None:
    """Log the subjects with damage, except those that are in the log already."""
    known = {subject for (subject,) in await session.rows(_DAMAGED)}
    for event in damage_events(found, known):
        await append(session, event, now)


async def read(session: Session, after: int, limit: int) -> list[AuditEntry]:
    """Return at most `limit` entries after a number."""
    return [_entry(*row) for row in await session.rows(_READ, after=after, limit=limit)]


def _entry(
    number: int,
    at: str | datetime,
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
