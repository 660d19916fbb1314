"""Collections: create, list and delete them."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, select

from service.errors import CollectionExists, CollectionNotFound
from service.store.audit import Event
from service.store.damage import LONG_AGO, moment_of, read_or_none
from service.store.records import Collection, Counts, Deletion, Page
from service.store.sql.audit_log import append
from service.store.sql.session import InList, Session
from service.store.sql.tables import collections, counts, insert_row, subjects, templates, total

# Subjects that one transaction erases; enrolments in the collection wait for its end.
AT_ONCE: Final = 500

_CREATE: Final = insert_row(collections).on_conflict_do_nothing()
_IS_NAMED: Final = collections.c.collection == bindparam("name")
_COUNTED: Final = (
    select(
        collections.c.collection,
        collections.c.created_at,
        total(counts.c.subjects),
        total(counts.c.templates),
    )
    .outerjoin(counts, counts.c.collection == collections.c.collection)
    .group_by(collections.c.collection, collections.c.created_at)
    .order_by(collections.c.collection)
)
_FIND: Final = _COUNTED.where(_IS_NAMED)
_PAGE: Final = _COUNTED.where(collections.c.collection > bindparam("after")).limit(
    bindparam("limit")
)
_HOLD: Final = select(collections.c.collection).where(_IS_NAMED)
_HOLD_FOR_ENROLMENT: Final = _HOLD.with_for_update(read=True, key_share=True)
_HOLD_FOR_DELETION: Final = _HOLD.with_for_update()
# Locked too: a deleted subject may be enrolled again meanwhile, in another collection.
_SOME: Final = (
    select(subjects.c.subject)
    .where(subjects.c.collection == bindparam("name"))
    .order_by(subjects.c.subject)
    .limit(bindparam("limit"))
    .with_for_update()
)
DELETE_TEMPLATES_OF: Final = (
    delete(templates).where(InList(templates.c.subject, "names")).returning(templates.c.template_id)
)
DELETE_SUBJECTS: Final = delete(subjects).where(InList(subjects.c.subject, "names"))
_DELETE_COUNTS: Final = delete(counts).where(counts.c.collection == bindparam("name"))
_DELETE: Final = delete(collections).where(_IS_NAMED)


async def create(session: Session, name: str, by: str | None, now: datetime) -> Collection:
    """Create a collection. Raises CollectionExists, also for the default collection."""
    if not name or not await session.run(_CREATE, collection=name, created_at=now):
        raise CollectionExists
    await session.collection_created(name)
    await append(session, Event("collection_created", name, by), now)
    return await find(session, name)


async def page(session: Session, after: str | None, limit: int) -> Page[Collection]:
    """Return at most `limit` collections after a name, in code point order."""
    rows = await session.rows(_PAGE, after=after or "", limit=limit + 1)
    items = tuple(_collection(*row) for row in rows[:limit])
    return Page(items, items[-1].name if len(rows) > limit else None)


async def find(session: Session, name: str) -> Collection:
    """Return a collection. Raises CollectionNotFound."""
    rows = await session.rows(_FIND, name=name)
    if not rows:
        raise CollectionNotFound
    return _collection(*rows[0])


async def hold(session: Session, name: str) -> None:
    """Lock a collection against deletion until the commit. Raises CollectionNotFound."""
    if not await session.rows(_HOLD_FOR_ENROLMENT, name=name):
        raise CollectionNotFound


async def delete_some(
    session: Session, name: str, before: Deletion, by: str | None, now: datetime
) -> Deletion:
    """Erase some of a collection's subjects, and the collection if no subject is left.

    The result adds to the counts of the steps `before`, and has a receipt after the last step.
    Raises CollectionNotFound.
    """
    if not await session.rows(_HOLD_FOR_DELETION, name=name):
        raise CollectionNotFound
    rows = await session.rows(_SOME, name=name, limit=AT_ONCE + 1)
    names = [subject for (subject,) in rows[:AT_ONCE]]
    erased = await session.rows(DELETE_TEMPLATES_OF, names=names)
    await session.run(DELETE_SUBJECTS, names=names)
    is_last = len(rows) <= AT_ONCE
    session.remove_from_index([template_id for (template_id,) in erased], erases=is_last)
    gone = Deletion(before.subjects + len(names), before.templates + len(erased))
    if not is_last:
        done = {"subjects": len(names), "templates": len(erased)}
        await append(session, Event("collection_emptied", name, by, done), now)
        return gone
    await session.collection_deleted(name)
    await session.run(_DELETE_COUNTS, name=name)
    await session.run(_DELETE, name=name)
    done = {"subjects": gone.subjects, "templates": gone.templates}
    receipt = await append(session, Event("collection_deleted", name, by, done), now)
    return Deletion(gone.subjects, gone.templates, receipt)


def _collection(
    name: str, created_at: str | datetime, subjects_: int, templates_: int
) -> Collection:
    created = read_or_none(lambda: moment_of(created_at)) or LONG_AGO
    return Collection(name, created, Counts(subjects_, templates_))
