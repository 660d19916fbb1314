"""The change to another bundle: what the new bundle lacks, and which bundle serves."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, and_, bindparam, case, delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from service.store.audit import Event
from service.store.damage import moment_of
from service.store.records import (
    Change,
    Deletion,
    MissingCounts,
    MissingTemplate,
    Photo,
    check_vector,
)
from service.store.sql.audit_log import append
from service.store.sql.read import UNEXPIRED, not_found, subject_row
from service.store.sql.sealing import sealed_subject_row
from service.store.sql.session import Session
from service.store.sql.tables import photos, subjects, switched, templates
from service.store.sql.write import ADD_TEMPLATE, HAS_NO_TEMPLATE, lock_subject
from service.store.vault import of_photo

_new = templates.alias("of_new_bundle")
_COLLECTION: Final = bindparam("collection", type_=String())
_HAS_PHOTO: Final = exists().where(
    photos.c.subject == templates.c.subject, photos.c.image_sha256 == templates.c.image_sha256
)
# Unexpired templates of the old bundle whose photo the new bundle has no template of.
_IS_MISSING: Final = and_(
    templates.c.fingerprint == bindparam("old"),
    UNEXPIRED,
    ~exists().where(
        _new.c.fingerprint == bindparam("new"),
        _new.c.subject == templates.c.subject,
        _new.c.image_sha256 == templates.c.image_sha256,
    ),
    or_(
        _COLLECTION.is_(None),
        select(subjects.c.collection)
        .where(subjects.c.subject == templates.c.subject)
        .scalar_subquery()
        == _COLLECTION,
    ),
)
_LACKING: Final = (
    select(
        templates.c.number,
        templates.c.subject,
        templates.c.template_id,
        templates.c.image_sha256,
        _HAS_PHOTO,
    )
    .where(_IS_MISSING, templates.c.number > bindparam("after"))
    .order_by(templates.c.number)
    .limit(bindparam("limit"))
)
_LACK: Final = (
    select(func.count(), func.count(case((~_HAS_PHOTO, 1))))
    .select_from(templates)
    .where(_IS_MISSING)
)
_PHOTO: Final = (
    select(templates.c.image_sha256, photos.c.photo)
    .outerjoin(
        photos,
        and_(
            photos.c.subject == templates.c.subject,
            photos.c.image_sha256 == templates.c.image_sha256,
        ),
    )
    .where(
        templates.c.subject == bindparam("subject"),
        templates.c.template_id == bindparam("template_id"),
    )
    .limit(1)
)
_MADE_OF_PHOTO: Final = (
    select(
        templates.c.fingerprint,
        templates.c.image_sha256,
        templates.c.quality,
        templates.c.expires_at,
    )
    .where(
        templates.c.subject == bindparam("subject"),
        templates.c.template_id == bindparam("template_id"),
    )
    .order_by(templates.c.number)
)
_FINGERPRINTS: Final = select(templates.c.fingerprint, func.count()).group_by(
    templates.c.fingerprint
)
_SWITCHED_TO: Final = select(switched.c.fingerprint)
_SWITCH: Final = (
    insert(switched)
    .values(single=True, fingerprint=bindparam("fingerprint"))
    .on_conflict_do_update(
        index_elements=[switched.c.single], set_={"fingerprint": bindparam("fingerprint")}
    )
)
_FORGET: Final = delete(templates).where(templates.c.fingerprint == bindparam("fingerprint"))
_DELETE_EMPTY: Final = delete(subjects).where(HAS_NO_TEMPLATE)


async def lacking(
    session: Session,
    change: Change,
    after: int,
    limit: int,
    collection: str | None,
    now: datetime,
) -> list[MissingTemplate]:
    """Return at most `limit` photos after a number that the new bundle has no template of."""
    rows = await session.rows(
        _LACKING,
        old=change.old,
        new=change.new,
        after=after,
        limit=limit,
        collection=collection,
        now=now,
    )
    return [
        MissingTemplate(number, subject, template_id, image_sha256, bool(has_photo))
        for number, subject, template_id, image_sha256, has_photo in rows
    ]


async def lack(
    session: Session, change: Change, collection: str | None, now: datetime
) -> MissingCounts:
    """Count the photos that the new bundle has no template of."""
    ((missing, without_photo),) = await session.rows(
        _LACK, old=change.old, new=change.new, collection=collection, now=now
    )
    return MissingCounts(missing, without_photo)


async def photo(session: Session, subject: str, template_id: str) -> Photo | str:
    """Return the photo of a template, or the photo's SHA-256 if it was not kept.

    Raises SubjectNotFound, TemplateNotFound.
    """
    rows = await session.rows(_PHOTO, subject=subject, template_id=template_id)
    if not rows:
        raise await not_found(session, subject)
    ((image_sha256, stored),) = rows
    if stored is None:
        return str(image_sha256)
    row = await subject_row(session, subject)
    return Photo(image_sha256, row.cipher.open(stored, of_photo(image_sha256)))


async def add_vector(
    session: Session,
    subject: str,
    template_id: str,
    fingerprint: str,
    vector: NDArray[np.float32],
    quality: Mapping[str, float] | None,
    by: str | None,
    now: datetime,
) -> bool:
    """Add another bundle's vector of a photo; return False if there is one already.

    Raises SubjectNotFound, TemplateNotFound, DegenerateVector.
    """
    check_vector(vector)
    await lock_subject(session, subject)
    made = await session.rows(_MADE_OF_PHOTO, subject=subject, template_id=template_id)
    if not made:
        raise await not_found(session, subject)
    if any(made_by == fingerprint for made_by, *_ in made):
        return False
    row = await sealed_subject_row(session, subject)
    _, image, old_quality, expires_at = made[0]
    ((number,),) = await session.rows(
        ADD_TEMPLATE,
        template_id=template_id,
        subject=subject,
        fingerprint=fingerprint,
        image_sha256=image,
        quality=old_quality if quality is None else json.dumps(quality),
        created_at=now,
        expires_at=expires_at,
        vector=row.cipher.seal(
            session.encode(vector), row.owner.vector(template_id, image, fingerprint)
        ),
    )
    # After the row, which keeps the collection from being deleted until the commit.
    await session.add_to_index(
        row.owner, number, template_id, fingerprint, vector, moment_of(expires_at)
    )
    await append(session, Event("reembedded", subject, by, {"templates": 1}), now)
    return True


async def fingerprints(session: Session) -> dict[str, int]:
    """Return the number of templates of each bundle, by its fingerprint."""
    return dict(await session.rows(_FINGERPRINTS))


async def switched_to(session: Session) -> str | None:
    """Return the fingerprint of the last switch, None if there was none."""
    rows = await session.rows(_SWITCHED_TO)
    return str(rows[0][0]) if rows else None


async def switch_to(session: Session, fingerprint: str, by: str | None, now: datetime) -> None:
    """Record which bundle serves from now on."""
    await session.run(_SWITCH, fingerprint=fingerprint)
    await append(session, Event("switched", key_id=by), now)


async def forget(session: Session, fingerprint: str, by: str | None, now: datetime) -> Deletion:
    """Delete every template of a bundle, and the subjects that have no other template."""
    gone = await session.run(_FORGET, fingerprint=fingerprint)
    subjects_ = await session.run(_DELETE_EMPTY)
    session.forget_in_index(fingerprint)
    counts = {"subjects": subjects_, "templates": gone}
    receipt = await append(session, Event("bundle_forgotten", key_id=by, counts=counts), now)
    return Deletion(subjects_, gone, receipt)
