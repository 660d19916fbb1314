"""The queries: one statement each, so that a query sees one state of the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Final

from sqlalchemy import String, and_, bindparam, exists, func, or_, select

from service.errors import StoreDamaged, StoreError, SubjectNotFound, TemplateNotFound
from service.store.damage import (
    LONG_AGO,
    SubjectReader,
    moment_of,
    photo_of,
    quality_of,
    template_of,
)
from service.store.records import (
    Counts,
    Damage,
    ExportedTemplate,
    GalleryTemplate,
    Page,
    Photo,
    StoredTemplate,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
)
from service.store.sql.session import InList, Session
from service.store.sql.tables import counts, data_keys, photos, subjects, templates, total
from service.store.subject_row import SubjectRow
from service.store.vault import Owner, Vault

_NOW: Final = bindparam("now", type_=templates.c.expires_at.type)
UNEXPIRED: Final = or_(templates.c.expires_at.is_(None), templates.c.expires_at > _NOW)
_IS_SUBJECT: Final = subjects.c.subject == bindparam("subject")
_KEY: Final = data_keys.c.key_id == subjects.c.key_id
_OWN: Final = templates.c.subject == subjects.c.subject

_TEMPLATES: Final = (
    select(
        subjects.c.subject,
        subjects.c.collection,
        subjects.c.key_id,
        data_keys.c.master,
        data_keys.c.wrapped,
        templates.c.template_id,
        templates.c.vector,
        templates.c.image_sha256,
        templates.c.fingerprint,
        templates.c.quality,
        templates.c.expires_at,
    )
    .select_from(subjects)
    .outerjoin(data_keys, _KEY)
    .outerjoin(templates, and_(_OWN, UNEXPIRED))
)
_TEMPLATES_OF: Final = _TEMPLATES.where(_IS_SUBJECT).order_by(templates.c.number)
_TEMPLATES_OF_EACH: Final = _TEMPLATES.where(InList(subjects.c.subject, "names")).order_by(
    subjects.c.subject, templates.c.number
)

_HEAD: Final = (
    subjects.c.created_at,
    subjects.c.collection,
    subjects.c.metadata,
    subjects.c.terms,
    subjects.c.key_id,
    data_keys.c.master,
    data_keys.c.wrapped,
)
_STORED: Final = (
    templates.c.vector,
    templates.c.template_id,
    templates.c.subject,
    templates.c.fingerprint,
    templates.c.image_sha256,
    templates.c.quality,
    templates.c.created_at,
    templates.c.expires_at,
)
_PHOTO: Final = (
    select(photos.c.photo)
    .where(photos.c.subject == subjects.c.subject)
    .where(photos.c.image_sha256 == templates.c.image_sha256)
    .scalar_subquery()
)
_SUBJECT_ROW: Final = (
    select(*_HEAD).select_from(subjects).outerjoin(data_keys, _KEY).where(_IS_SUBJECT)
)
_DETAIL: Final = (
    _SUBJECT_ROW.add_columns(*_STORED).outerjoin(templates, _OWN).order_by(templates.c.number)
)
_EXPORT: Final = _DETAIL.add_columns(_PHOTO)

_AFTER: Final = bindparam("after", type_=String())
_page = (
    select(subjects)
    .where(subjects.c.collection == bindparam("collection"))
    .where(or_(_AFTER.is_(None), subjects.c.subject > _AFTER))
    .order_by(subjects.c.subject)
    .limit(bindparam("limit"))
    .cte("page")
)
_made = (
    select(templates.c.subject, templates.c.fingerprint, func.count().label("templates"))
    .join(_page, _page.c.subject == templates.c.subject)
    .group_by(templates.c.subject, templates.c.fingerprint)
    .subquery("made")
)
_PAGE: Final = (
    select(
        _page.c.subject,
        _page.c.created_at,
        _page.c.collection,
        _page.c.metadata,
        _page.c.terms,
        _page.c.key_id,
        data_keys.c.master,
        data_keys.c.wrapped,
        _made.c.fingerprint,
        _made.c.templates,
    )
    .select_from(_page)
    .outerjoin(_made, _made.c.subject == _page.c.subject)
    .outerjoin(data_keys, data_keys.c.key_id == _page.c.key_id)
    .order_by(_page.c.subject, _made.c.fingerprint)
)
_SUBJECT_OF: Final = (
    select(templates.c.subject).where(templates.c.template_id == bindparam("template_id")).limit(1)
)
_COLLECTION: Final = bindparam("collection", type_=String())
_COUNT: Final = select(
    total(counts.c.subjects),
    total(counts.c.templates),
).where(or_(_COLLECTION.is_(None), counts.c.collection == _COLLECTION))
_HAS_OTHERS: Final = select(
    exists()
    .where(_OWN)
    .where(templates.c.fingerprint != bindparam("fingerprint"))
    .where(subjects.c.collection == bindparam("collection"))
    .where(UNEXPIRED)
)
_IS_KNOWN: Final = select(subjects.c.subject).where(_IS_SUBJECT)


async def templates_of(
    session: Session, subject: str, now: datetime, dimensions: Mapping[str, int]
) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    rows = await session.rows(_TEMPLATES_OF, subject=subject, now=now)
    if not rows:
        raise SubjectNotFound
    return _templates(session, subject, rows, dimensions)


async def templates_of_each(
    session: Session, names: Sequence[str], now: datetime, dimensions: Mapping[str, int]
) -> list[SubjectTemplates]:
    """Return the unexpired templates of several subjects; unknown subjects are left out."""
    try:
        rows = await session.rows(_TEMPLATES_OF_EACH, names=list(names), now=now)
    except StoreDamaged:
        if len(names) == 1:
            return [SubjectTemplates(names[0], "", (), (lost_page(names[0]),))]
        # Only the subjects on the damaged page are lost.
        each = [await templates_of_each(session, [name], now, dimensions) for name in names]
        return [templates for found in each for templates in found]
    return [
        _templates(session, subject, list(own), dimensions)
        for subject, own in groupby(rows, key=lambda row: str(row[0]))
    ]


def _templates(
    session: Session, subject: str, rows: Sequence[Any], dimensions: Mapping[str, int]
) -> SubjectTemplates:
    collection, *key = rows[0][1:5]
    reader, owner = SubjectReader(subject), Owner(subject, collection)
    cipher = reader.cipher(session.vault, *key)
    found: list[GalleryTemplate | None] = []
    for name, blob, image, made_by, quality, expires_at in (row[5:] for row in rows):
        if name is None or _expiry(reader, expires_at, name, made_by) == LONG_AGO:
            continue
        about = owner.vector(name, image, made_by)
        read = partial(session.vector_of, cipher, blob, about, dimensions.get(made_by))
        found.append(template_of(reader, read, name, made_by, quality))
    return SubjectTemplates(
        subject,
        collection,
        tuple(each for each in found if each is not None),
        tuple(reader.damaged),
    )


async def subjects_page(
    session: Session, after: str | None, limit: int, collection: str
) -> Page[SubjectSummary]:
    """Return at most `limit` subjects of a collection after an id, in code point order."""
    rows = await session.rows(_PAGE, collection=collection, after=after, limit=limit + 1)
    found = [list(own) for _, own in groupby(rows, key=lambda row: str(row[0]))]
    items = tuple(_summary(session.vault, own) for own in found[:limit])
    return Page(items, items[-1].subject if len(found) > limit else None)


def _summary(vault: Vault, rows: Sequence[Any]) -> SubjectSummary:
    """Make the summary of a subject from its rows, one for each bundle of its templates."""
    subject, created_at, collection, *values = rows[0][:8]
    row = SubjectRow.open(vault, Owner(subject, collection), *values)
    reader = SubjectReader(subject, [*row.damaged])
    made = [(fingerprint, number) for *_, fingerprint, number in rows if fingerprint is not None]
    return SubjectSummary(
        subject,
        sum(number for _, number in made),
        _moment(reader, created_at),
        row.metadata,
        row.terms,
        tuple(fingerprint for fingerprint, _ in made),
        collection,
        tuple(reader.damaged),
    )


async def subject_detail(
    session: Session, subject: str, dimensions: Mapping[str, int]
) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    rows = await session.rows(_DETAIL, subject=subject)
    created_at, row, reader = _opened(session.vault, subject, rows)
    stored = []
    for blob, *columns in (each[7:] for each in rows):
        if blob is not None:
            stored.append(_stored(reader, *columns))
            row.vector(session.vector_of, blob, stored[-1], reader, dimensions)
    return SubjectDetail(
        subject,
        _moment(reader, created_at),
        row.metadata,
        row.terms,
        tuple(stored),
        row.owner.collection,
        tuple(reader.damaged),
    )


async def export(session: Session, subject: str, dimensions: Mapping[str, int]) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    rows = await session.rows(_EXPORT, subject=subject)
    created_at, row, reader = _opened(session.vault, subject, rows)
    kept: dict[str, Photo | None] = {}
    exported = []
    for blob, *columns, photo in (each[7:] for each in rows):
        if blob is None:
            continue
        stored = _stored(reader, *columns)
        image = stored.image_sha256
        vector = row.vector(session.vector_of, blob, stored, reader, dimensions)
        if vector is not None:
            exported.append(ExportedTemplate.of(stored, vector))
        if photo is not None and image not in kept:
            kept[image] = photo_of(reader, row.cipher, image, photo)
    return SubjectExport(
        subject,
        _moment(reader, created_at),
        row.metadata,
        row.terms,
        tuple(exported),
        tuple(each for each in kept.values() if each is not None),
        tuple(reader.damaged),
    )


async def subject_of(session: Session, template_id: str) -> str:
    """Return the subject of a template. Raises TemplateNotFound."""
    rows = await session.rows(_SUBJECT_OF, template_id=template_id)
    if not rows:
        raise TemplateNotFound
    return str(rows[0][0])


async def subject_row(session: Session, subject: str) -> SubjectRow:
    """Return a subject's row. Raises SubjectNotFound."""
    _, row, _ = _opened(session.vault, subject, await session.rows(_SUBJECT_ROW, subject=subject))
    return row


async def count(session: Session, collection: str | None) -> Counts:
    """Count subjects and templates of a collection or of all, including expired templates."""
    ((of_subjects, of_templates),) = await session.rows(_COUNT, collection=collection)
    return Counts(of_subjects, of_templates)


async def has_others(session: Session, fingerprint: str, collection: str, now: datetime) -> bool:
    """Tell whether a collection has an unexpired template that another bundle made."""
    ((found,),) = await session.rows(
        _HAS_OTHERS, fingerprint=fingerprint, collection=collection, now=now
    )
    return bool(found)


async def is_known(session: Session, subject: str) -> bool:
    """Tell whether there is a subject of that name."""
    return bool(await session.rows(_IS_KNOWN, subject=subject))


async def not_found(session: Session, subject: str) -> StoreError:
    """Return the error for a missing template: of the template, or of the subject if unknown."""
    if await is_known(session, subject):
        return TemplateNotFound("The subject has no template with this id.")
    return SubjectNotFound()


def lost_page(subject: str, fingerprint: str | None = None) -> Damage:
    """Return the damage of a template whose page of the database cannot be read."""
    return Damage(subject, "vector", "Its page of the database file is damaged.", None, fingerprint)


def _opened(
    vault: Vault, subject: str, rows: Sequence[Any]
) -> tuple[str | datetime, SubjectRow, SubjectReader]:
    """Return the creation time and the row of a subject, and a reader of its other values."""
    if not rows:
        raise SubjectNotFound
    created_at, collection, *values = rows[0][:7]
    row = SubjectRow.open(vault, Owner(subject, collection), *values)
    return created_at, row, SubjectReader(subject, [*row.damaged])


def _stored(
    reader: SubjectReader,
    template_id: str,
    subject: str,
    fingerprint: str,
    image_sha256: str,
    quality: str,
    created_at: str | datetime,
    expires_at: str | datetime | None,
) -> StoredTemplate:
    of_template = template_id, fingerprint
    none: dict[str, float] = {}
    return StoredTemplate(
        template_id,
        subject,
        fingerprint,
        image_sha256,
        reader.read("quality", lambda: quality_of(quality), none, *of_template),
        _moment(reader, created_at, *of_template),
        _expiry(reader, expires_at, *of_template),
    )


def _moment(reader: SubjectReader, at: str | datetime, *of_template: str) -> datetime:
    return reader.read("times", lambda: moment_of(at), None, *of_template) or LONG_AGO


def _expiry(
    reader: SubjectReader, at: str | datetime | None, template_id: str, fingerprint: str
) -> datetime | None:
    """Return when a template expires; if that is damaged, the template counts as expired."""
    return reader.read("times", lambda: moment_of(at), LONG_AGO, template_id, fingerprint)
