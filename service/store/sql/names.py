"""The names of subjects: rename a subject, and find names that are not in today's form."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, literal_column, select, update

from service.errors import StoreError, SubjectExists
from service.store.audit import AuditEntry, Event
from service.store.names import odd_name
from service.store.records import OddName, Page
from service.store.sql.audit_log import append
from service.store.sql.read import is_known, subject_row
from service.store.sql.sealing import VECTORS
from service.store.sql.session import InList, Session
from service.store.sql.tables import subjects, templates
from service.store.sql.write import lock_subject
from service.store.subject_row import seal_metadata, seal_terms
from service.store.unbound import reseal_value
from service.store.vault import ClearCipher, Owner

# As the condition of the index says it.
_IS_ODD: Final[ColumnElement[bool]] = literal_column("odd_name")
_ODD: Final = select(subjects.c.subject).where(_IS_ODD).order_by(subjects.c.subject)
_ODD_PAGE: Final = _ODD.where(subjects.c.subject > bindparam("after")).limit(bindparam("limit"))
_CLEAR: Final = update(subjects).where(InList(subjects.c.subject, "names")).values(odd_name=False)
# Locked before the subject, as in a deletion, because a sweep does not lock subjects.
_VECTORS: Final = VECTORS.order_by(templates.c.number).with_for_update()


async def rename(
    session: Session, subject: str, to: str, by: str | None, now: datetime
) -> AuditEntry:
    """Rename a subject: its key stays, and values that are bound to the name are encrypted again.

    Raises SubjectNotFound, SubjectExists.
    """
    # In a fixed order, so that two requests that swap names do not wait for each other.
    for name in sorted({subject, to}):
        await lock_subject(session, name)
    if await is_known(session, to):
        raise SubjectExists
    rows = await session.rows(_VECTORS, name=subject)
    before = await subject_row(session, subject)
    before.check_whole()
    owner = Owner(to, before.owner.collection)
    vectors = None
    if not isinstance(before.cipher, ClearCipher):
        vectors = {
            number: reseal_value(
                before.cipher, vector, before.owner.vector(*of_template), owner.vector(*of_template)
            )
            for number, vector, *of_template in rows
        }
    await session.move_rows(
        subject,
        to,
        seal_metadata(before.cipher, owner, before.metadata),
        seal_terms(before.cipher, owner, before.terms),
        vectors,
    )
    ids = list(dict.fromkeys(row[2] for row in rows))
    session.remove_from_index(ids)
    await session.refresh_index(ids)
    await append(session, Event("renamed_from", subject, by), now)
    return await append(session, Event("renamed_to", to, by), now)


async def marked(session: Session) -> list[str]:
    """Return the subjects whose names are marked as odd, in code point order."""
    return [subject for (subject,) in await session.rows(_ODD)]


async def unmark(session: Session, names: Sequence[str]) -> None:
    """Remove the mark of names that are in today's form."""
    await session.run(_CLEAR, names=list(names))


async def settle(session: Session, names: Mapping[str, str], now: datetime) -> None:
    """Rename subjects, each to the name beside it, where that is possible."""
    for subject, to in names.items():
        # Another replica may be faster; a damaged subject must not stop the others, or the start.
        with suppress(StoreError):
            async with session.savepoint():
                await rename(session, subject, to, None, now)


async def odd_names(session: Session, after: str | None, limit: int) -> Page[OddName]:
    """Return at most `limit` marked subjects, in code point order."""
    rows = await session.rows(_ODD_PAGE, after=after or "", limit=limit + 1)
    items = tuple(odd_name(subject) for (subject,) in rows[:limit])
    return Page(items, items[-1].subject if len(rows) > limit else None)
