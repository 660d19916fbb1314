"""The writes to subjects and templates, each in one transaction.

With PostgreSQL each begins with a lock on its subject, until the commit. So writers of one subject
take turns on all replicas, and every statement sees the changes of the writers before.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from service.errors import (
    IdempotencyConflict,
    StoreDamaged,
    SubjectElsewhere,
    SubjectNotFound,
    TemplateIdTaken,
)
from service.store.audit import Event
from service.store.damage import moment_of, read_outcome
from service.store.records import (
    IDEMPOTENCY_LASTS,
    Deletion,
    EnrolledTemplate,
    EnrolmentResult,
    Idempotency,
    NewTemplate,
    Terms,
    check_ahead,
)
from service.store.sql.audit_log import append
from service.store.sql.collections import hold
from service.store.sql.read import not_found
from service.store.sql.sealing import sealed_subject_row
from service.store.sql.session import REQUEST_LOCK, SUBJECT_LOCK, InList, Session
from service.store.sql.tables import (
    idempotency,
    insert_row,
    photos,
    request_templates,
    subjects,
    templates,
)
from service.store.subject_row import SubjectRow, seal_metadata, seal_terms
from service.store.vault import of_photo

_OLD_REQUESTS_AT_ONCE: Final = 100

_IS_SUBJECT: Final = subjects.c.subject == bindparam("name")
_OF_SUBJECT: Final = templates.c.subject == bindparam("name")
_OF_IMAGE: Final = templates.c.image_sha256 == bindparam("image")
_HAS_EXPIRED: Final = templates.c.expires_at <= bindparam("now", type_=templates.c.expires_at.type)
HAS_NO_TEMPLATE: Final = ~exists().where(templates.c.subject == subjects.c.subject)

_DROP_EXPIRED: Final = (
    delete(templates).where(_OF_SUBJECT, _HAS_EXPIRED).returning(templates.c.template_id)
)
_DELETE_TEMPLATES: Final = delete(templates).where(_OF_SUBJECT).returning(templates.c.template_id)
_DELETE_TEMPLATE: Final = (
    delete(templates)
    .where(_OF_SUBJECT, templates.c.template_id == bindparam("id"))
    .returning(templates.c.template_id)
)
_DELETE_SUBJECT: Final = delete(subjects).where(_IS_SUBJECT)
_DELETE_EMPTY_SUBJECT: Final = delete(subjects).where(_IS_SUBJECT, HAS_NO_TEMPLATE)
_DELETE_EMPTY_SUBJECTS: Final = delete(subjects).where(
    InList(subjects.c.subject, "names"), HAS_NO_TEMPLATE
)
_SWEEP: Final = (
    delete(templates)
    .where(
        templates.c.number.in_(
            select(templates.c.number)
            .where(_HAS_EXPIRED)
            .order_by(templates.c.expires_at)
            .limit(bindparam("limit"))
            .with_for_update(skip_locked=True)
        )
    )
    .returning(templates.c.template_id, templates.c.subject)
)

_PUT_SUBJECT: Final = (
    insert(subjects)
    .values(
        subject=bindparam("subject"),
        created_at=bindparam("created_at"),
        metadata=bindparam("metadata"),
        collection=bindparam("collection"),
        odd_name=False,
    )
    .on_conflict_do_nothing()
)
_COLLECTION_OF: Final = select(subjects.c.collection).where(_IS_SUBJECT)
_SET_METADATA: Final = update(subjects).where(_IS_SUBJECT).values(metadata=bindparam("sealed"))
_SET_TERMS: Final = update(subjects).where(_IS_SUBJECT).values(terms=bindparam("sealed"))

# Locked, so that a sweep cannot erase them before the request's result is recorded.
_SAME_PHOTO: Final = (
    select(
        templates.c.subject,
        templates.c.image_sha256,
        templates.c.fingerprint,
        templates.c.template_id,
        templates.c.expires_at,
        templates.c.vector,
    )
    .where(or_(templates.c.template_id == bindparam("id"), _OF_SUBJECT & _OF_IMAGE))
    .with_for_update(read=True, key_share=True)
)
_SET_EXPIRY: Final = (
    update(templates)
    .where(templates.c.template_id == bindparam("id"))
    .values(expires_at=bindparam("expiry"))
)
ADD_TEMPLATE: Final = insert_row(templates, "number").returning(templates.c.number)
_PHOTO_OF: Final = select(photos.c.photo).where(
    photos.c.subject == bindparam("name"), photos.c.image_sha256 == bindparam("image")
)
_ADD_PHOTO: Final = insert_row(photos, "number").on_conflict_do_nothing()
_DROP_DAMAGED: Final = delete(templates).where(
    _OF_SUBJECT, _OF_IMAGE, templates.c.fingerprint == bindparam("made_by")
)

_DAY_AGO: Final = bindparam("day_ago", type_=idempotency.c.created_at.type)
# Another transaction may be deleting the same old records, in another order.
_FORGET_OLD: Final = delete(idempotency).where(
    idempotency.c.key.in_(
        select(idempotency.c.key)
        .where(idempotency.c.created_at <= _DAY_AGO)
        .limit(_OLD_REQUESTS_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
)
_RECORDED: Final = select(idempotency.c.request_sha256, idempotency.c.outcome).where(
    idempotency.c.key == bindparam("request"), idempotency.c.created_at > _DAY_AGO
)
_FORGET_REQUEST: Final = delete(idempotency).where(idempotency.c.key == bindparam("request"))
_RECORD: Final = insert_row(idempotency)
_LINK: Final = insert_row(request_templates)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Hold what an enrolment stores, and the API key `by` which it was requested."""

    subject: str
    templates: Sequence[NewTemplate]
    metadata: Mapping[str, str] | None = None
    idempotency: Idempotency | None = None
    by: str | None = None
    terms: Terms | None = None
    collection: str = ""


async def enroll(session: Session, enrolment: Enrolment, now: datetime) -> EnrolmentResult:
    """Add templates to a subject, and record the result under the idempotency key."""
    subject, request = enrolment.subject, enrolment.idempotency
    if enrolment.collection:
        await hold(session, enrolment.collection)
    if request is not None:
        # Always before the subject's lock, to prevent deadlocks.
        await session.lock(request.key, REQUEST_LOCK)
    await lock_subject(session, subject)
    # First, because the result of a request is deleted with its expired templates.
    _unindex(session, await session.rows(_DROP_EXPIRED, name=subject, now=now))
    recorded = None if request is None else await _recorded(session, request, now)
    if recorded is not None:
        return recorded
    for template in enrolment.templates:
        check_ahead(template.expires_at, now)
    row = await _put_subject(session, enrolment, now)
    result = EnrolmentResult(
        tuple([await _add(session, row, template, now) for template in enrolment.templates])
    )
    if request is not None:
        await _record(session, request, result, now)
    if created := sum(outcome.created for outcome in result.templates):
        event = Event("enrolled", subject, enrolment.by, {"templates": created})
        await append(session, event, now)
    return result


async def delete_subject(session: Session, subject: str, by: str | None, now: datetime) -> Deletion:
    """Delete a subject and its templates. Raises SubjectNotFound."""
    await lock_subject(session, subject)
    gone = await session.rows(_DELETE_TEMPLATES, name=subject)
    if not await session.run(_DELETE_SUBJECT, name=subject):
        raise SubjectNotFound
    _unindex(session, gone)
    session.erase()
    counts = {"subjects": 1, "templates": len(gone)}
    receipt = await append(session, Event("subject_deleted", subject, by, counts), now)
    return Deletion(1, len(gone), receipt)


async def delete_template(
    session: Session, subject: str, template_id: str, by: str | None, now: datetime
) -> Deletion:
    """Delete all bundles' templates of a photo, and the subject with its last template.

    Raises SubjectNotFound, TemplateNotFound.
    """
    await lock_subject(session, subject)
    gone = await session.rows(_DELETE_TEMPLATE, name=subject, id=template_id)
    if not gone:
        raise await not_found(session, subject)
    _unindex(session, gone)
    subjects_ = await session.run(_DELETE_EMPTY_SUBJECT, name=subject)
    counts = {"subjects": subjects_, "templates": len(gone)}
    receipt = await append(session, Event("template_deleted", subject, by, counts), now)
    return Deletion(subjects_, len(gone), receipt)


async def sweep(session: Session, limit: int, now: datetime) -> Deletion:
    """Delete at most `limit` expired templates, and subjects that have no template left."""
    gone = await session.rows(_SWEEP, limit=limit, now=now)
    if not gone:
        return Deletion(0, 0)
    _unindex(session, gone)
    names = sorted({subject for _, subject in gone})
    subjects_ = await session.run(_DELETE_EMPTY_SUBJECTS, names=names)
    counts = {"subjects": subjects_, "templates": len(gone)}
    receipt = await append(session, Event("expired", counts=counts), now)
    return Deletion(subjects_, len(gone), receipt)


async def lock_subject(session: Session, subject: str) -> None:
    """Let the writers of a subject take turns, until the commit."""
    await session.lock(subject, SUBJECT_LOCK)


async def forget_requests(session: Session, now: datetime) -> bool:
    """Delete some results of requests that are a day old; return False if no more are left."""
    gone = await session.run(_FORGET_OLD, day_ago=now - IDEMPOTENCY_LASTS)
    return gone == _OLD_REQUESTS_AT_ONCE


def _unindex(session: Session, rows: Sequence[Any]) -> None:
    if rows:
        session.remove_from_index([row[0] for row in rows])


async def _recorded(
    session: Session, request: Idempotency, now: datetime
) -> EnrolmentResult | None:
    await forget_requests(session, now)
    rows = await session.rows(_RECORDED, request=request.key, day_ago=now - IDEMPOTENCY_LASTS)
    if not rows:
        return None
    ((request_sha256, outcome),) = rows
    if request_sha256 != request.request_sha256:
        raise IdempotencyConflict
    return read_outcome(outcome)


async def _record(
    session: Session, request: Idempotency, result: EnrolmentResult, now: datetime
) -> None:
    outcome = json.dumps([(each.template_id, each.created) for each in result.templates])
    # A record of a day ago, or a damaged one, may still be there.
    await session.run(_FORGET_REQUEST, request=request.key)
    await session.run(
        _RECORD,
        key=request.key,
        request_sha256=request.request_sha256,
        outcome=outcome,
        created_at=now,
    )
    ids = dict.fromkeys(each.template_id for each in result.templates)
    await session.run_each(_LINK, [{"template_id": each, "key": request.key} for each in ids])


async def _put_subject(session: Session, enrolment: Enrolment, now: datetime) -> SubjectRow:
    """Create a subject or update its metadata and terms if given; return its row of before."""
    subject, metadata, terms = enrolment.subject, enrolment.metadata, enrolment.terms
    created = await session.run(
        _PUT_SUBJECT,
        subject=subject,
        created_at=now,
        metadata=b"{}",
        collection=enrolment.collection,
    )
    if not created:
        # If the subject was deleted meanwhile, adding a template fails, and the work runs again.
        rows = await session.rows(_COLLECTION_OF, name=subject)
        if any(collection != enrolment.collection for (collection,) in rows):
            raise SubjectElsewhere
    before = await sealed_subject_row(session, subject)
    if metadata is not None:
        sealed = seal_metadata(before.cipher, before.owner, metadata)
        await session.run(_SET_METADATA, sealed=sealed, name=subject)
    if terms is not None:
        sealed = seal_terms(before.cipher, before.owner, terms)
        await session.run(_SET_TERMS, sealed=sealed, name=subject)
    if metadata not in (None, before.metadata) or terms not in (None, before.terms):
        session.erase()
    return before


async def _add(
    session: Session, row: SubjectRow, template: NewTemplate, now: datetime
) -> EnrolledTemplate:
    """Add a template unless it exists; all templates of a photo share one id and one expiry."""
    subject, image = row.owner.subject, template.image_sha256
    rows = await session.rows(_SAME_PHOTO, id=template.template_id, name=subject, image=image)
    if any((row[0], row[1]) != (subject, image) for row in rows):
        raise TemplateIdTaken
    template_id = rows[0][3] if rows else template.template_id
    times = [each[4] for each in rows if _is_moment(each[4])]
    expires_at = times[0] if times else None
    good = [each for each in rows if _is_good(session, row, each, template)]
    created = all(each[2] != template.fingerprint for each in good)
    kept = await _drop_damaged(session, row, template) if len(rows) > len(good) and created else []
    if template.expires_at is not None:
        expires_at = template.expires_at
        await session.run(_SET_EXPIRY, expiry=expires_at, id=template_id)
    if created:
        ((number,),) = await session.rows(
            ADD_TEMPLATE,
            template_id=template_id,
            subject=subject,
            fingerprint=template.fingerprint,
            image_sha256=image,
            quality=json.dumps(template.quality),
            created_at=now,
            expires_at=expires_at,
            vector=row.cipher.seal(
                session.encode(template.vector),
                row.owner.vector(template_id, image, template.fingerprint),
            ),
        )
        await session.add_to_index(
            row.owner,
            number,
            template_id,
            template.fingerprint,
            template.vector,
            moment_of(expires_at),
        )
    if template.photo is not None:
        kept = [row.cipher.seal(template.photo, of_photo(image)), *kept]
    for photo in kept:
        await session.run(_ADD_PHOTO, subject=subject, image_sha256=image, photo=photo)
    if template.expires_at is not None:
        # A new expiry is for all bundles' templates.
        await session.refresh_index([template_id])
    return EnrolledTemplate(template_id, created)


def _is_good(session: Session, row: SubjectRow, stored: Any, template: NewTemplate) -> bool:
    """Tell whether a stored template of the same photo as a new template is undamaged."""
    _, _, made_by, template_id, expires_at, vector = stored
    return _is_moment(expires_at) and row.holds(
        session.vector_of, vector, template_id, made_by, template
    )


def _is_moment(at: str | datetime | None) -> bool:
    try:
        moment_of(at)
    except StoreDamaged:
        return False
    return True


async def _drop_damaged(session: Session, row: SubjectRow, template: NewTemplate) -> list[bytes]:
    """Delete a damaged template of the same photo and bundle, so that it can be added again.

    Returns the stored photo, which the deletion may remove, so that it can be added again.
    """
    of_image = {"name": row.owner.subject, "image": template.image_sha256}
    kept = await session.rows(_PHOTO_OF, **of_image)
    await session.run(_DROP_DAMAGED, **of_image, made_by=template.fingerprint)
    return [photo for (photo,) in kept]
