"""The queries of a PostgreSQL database: one statement each, which sees one state of it."""

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from service.errors import StoreDamaged, StoreError, SubjectNotFound, TemplateNotFound
from service.store.damage import SubjectReader, checked, photo_of, quality_of, template_of
from service.store.postgres.migrations import Connection
from service.store.records import (
    Counts,
    ExportedTemplate,
    Page,
    Photo,
    StoredTemplate,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
)
from service.store.subject_row import SubjectRow
from service.store.vault import Cipher, Owner, Vault

_TEMPLATE = (
    "template_id, subject, fingerprint, image_sha256, quality, templates.created_at, expires_at"
)

_NOTHING: Final[dict[str, float]] = {}

_PARTICULARS = "metadata, terms, key_id, master, wrapped"
_HEAD = f"subjects.created_at, collection, {_PARTICULARS}"


async def templates_of(
    connection: Connection,
    vault: Vault,
    subject: str,
    now: datetime,
    dimensions: Mapping[str, int],
) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    found = await templates_of_each(connection, vault, [subject], now, dimensions)
    if not found:
        raise SubjectNotFound
    return found[0]


async def templates_of_each(
    connection: Connection,
    vault: Vault,
    subjects: Sequence[str],
    now: datetime,
    dimensions: Mapping[str, int],
) -> list[SubjectTemplates]:
    """Return the unexpired templates of several subjects; unknown subjects are left out."""
    rows = await _rows(
        connection,
        """SELECT subjects.subject, collection, key_id, master, wrapped, template_id, vector,
            image_sha256, fingerprint, quality
        FROM likeness.subjects LEFT JOIN likeness.data_keys USING (key_id)
        LEFT JOIN likeness.templates ON templates.subject = subjects.subject
            AND (expires_at IS NULL OR expires_at > %s)
        WHERE subjects.subject = ANY(%s) ORDER BY subjects.subject, number""",
        [now, list(subjects)],
    )
    return [
        _templates(vault, subject, list(own), dimensions)
        for subject, own in groupby(rows, key=lambda row: str(row[0]))
    ]


def _templates(
    vault: Vault, subject: str, rows: Sequence[Any], dimensions: Mapping[str, int]
) -> SubjectTemplates:
    _, collection, *key = rows[0][:5]
    reader, owner = SubjectReader(subject), Owner(subject, collection)
    cipher = reader.cipher(vault, *key)
    templates = []
    for name, blob, image, made_by, quality in (row[5:] for row in rows):
        if name is not None:
            about = owner.vector(name, image, made_by)
            read = partial(vector_of, cipher, blob, about, dimensions.get(made_by))
            templates.append(template_of(reader, read, name, made_by, quality))
    return SubjectTemplates(
        subject,
        collection,
        tuple(each for each in templates if each is not None),
        tuple(reader.damaged),
    )


async def subjects(
    connection: Connection, vault: Vault, after: str | None, limit: int, collection: str
) -> Page[SubjectSummary]:
    """Return at most `limit` subjects of a collection after an id, in code point order."""
    rows = await _rows(
        connection,
        f"""WITH page AS (
            SELECT * FROM likeness.subjects WHERE collection = %(collection)s
                AND (%(after)s::text IS NULL OR subject > %(after)s)
            ORDER BY subject LIMIT %(limit)s
        ), made AS (
            SELECT subject, count(*) AS templates,
                array_agg(DISTINCT fingerprint ORDER BY fingerprint) AS made_by
            FROM page JOIN likeness.templates USING (subject) GROUP BY subject
        )
        SELECT subject, coalesce(templates, 0), made_by, page.created_at, {_PARTICULARS}
        FROM page LEFT JOIN made USING (subject) LEFT JOIN likeness.data_keys USING (key_id)
        ORDER BY subject""",
        {"collection": collection, "after": after, "limit": limit + 1},
    )
    items = tuple(
        _summary(at, SubjectRow.open(vault, Owner(subject, collection), *held), templates, made_by)
        for subject, templates, made_by, at, *held in rows[:limit]
    )
    return Page(items, items[-1].subject if len(rows) > limit else None)


async def subject_detail(
    connection: Connection, vault: Vault, subject: str, dimensions: Mapping[str, int]
) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    rows = await _subject_rows(connection, subject, f"vector, {_TEMPLATE}")
    at, collection, *head = rows[0][:7]
    held = SubjectRow.open(vault, Owner(subject, collection), *head)
    reader = SubjectReader(subject, [*held.damaged])
    stored = []
    for blob, *row in (row[7:] for row in rows):
        if blob is not None:
            stored.append(_stored(reader, *row))
            held.vector(vector_of, blob, stored[-1], reader, dimensions)
    damaged = tuple(reader.damaged)
    return SubjectDetail(
        subject, utc(at), held.metadata, held.terms, tuple(stored), collection, damaged
    )


async def subject_of(connection: Connection, template_id: str) -> str:
    """Return the subject of a template. Raises TemplateNotFound."""
    rows = await _rows(
        connection,
        "SELECT subject FROM likeness.templates WHERE template_id = %s LIMIT 1",
        [template_id],
    )
    if not rows:
        raise TemplateNotFound
    return str(rows[0][0])


async def export(
    connection: Connection, vault: Vault, subject: str, dimensions: Mapping[str, int]
) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    photo = """(SELECT photo FROM likeness.photos WHERE photos.subject = subjects.subject
        AND photos.image_sha256 = templates.image_sha256)"""
    rows = await _subject_rows(connection, subject, f"{photo}, vector, {_TEMPLATE}")
    at, collection, *head = rows[0][:7]
    held = SubjectRow.open(vault, Owner(subject, collection), *head)
    reader = SubjectReader(subject, [*held.damaged])
    photos: dict[str, Photo | None] = {}
    templates = []
    for photo, blob, *row in (row[7:] for row in rows):
        if blob is not None:
            stored = _stored(reader, *row)
            image = stored.image_sha256
            vector = held.vector(vector_of, blob, stored, reader, dimensions)
            if vector is not None:
                templates.append(ExportedTemplate.of(stored, vector))
            if photo is not None and image not in photos:
                photos[image] = photo_of(reader, held.cipher, image, photo)
    return SubjectExport(
        subject,
        utc(at),
        held.metadata,
        held.terms,
        tuple(templates),
        tuple(each for each in photos.values() if each is not None),
        tuple(reader.damaged),
    )


async def count(connection: Connection, collection: str | None) -> Counts:
    """Count subjects and templates of a collection or of all, including expired templates."""
    ((subjects_, templates),) = await _rows(
        connection,
        """SELECT coalesce(sum(subjects), 0)::bigint, coalesce(sum(templates), 0)::bigint
        FROM likeness.counts WHERE %(name)s::text IS NULL OR collection = %(name)s""",
        {"name": collection},
    )
    return Counts(subjects_, templates)


async def has_others(
    connection: Connection, fingerprint: str, collection: str, now: datetime
) -> bool:
    """Tell whether a collection has an unexpired template that another bundle made."""
    ((found,),) = await _rows(
        connection,
        """SELECT EXISTS (SELECT 1 FROM likeness.templates JOIN likeness.subjects USING (subject)
        WHERE fingerprint <> %s AND collection = %s AND (expires_at IS NULL OR expires_at > %s))""",
        [fingerprint, collection, now],
    )
    return bool(found)


async def not_found(connection: Connection, subject: str) -> StoreError:
    """Return the error for a missing template: of the template, or of the subject if unknown."""
    known = await _rows(connection, "SELECT 1 FROM likeness.subjects WHERE subject = %s", [subject])
    return (
        TemplateNotFound("The subject has no template with this id.")
        if known
        else SubjectNotFound()
    )


async def subject_row_of(connection: Connection, vault: Vault, subject: str) -> SubjectRow:
    """Return a subject's row. Raises SubjectNotFound."""
    rows = await _rows(
        connection,
        f"""SELECT collection, {_PARTICULARS} FROM likeness.subjects
        LEFT JOIN likeness.data_keys USING (key_id) WHERE subject = %s""",
        [subject],
    )
    if not rows:
        raise SubjectNotFound
    collection, *held = rows[0]
    return SubjectRow.open(vault, Owner(subject, collection), *held)


def vector_of(
    cipher: Cipher, blob: bytes, about: str, dimension: int | None = None
) -> NDArray[np.float32]:
    """Decrypt a blob with the associated data `about` to a (d,) float32 unit vector.

    Raises StoreDamaged, also for a wrong dimension.
    """
    try:
        vector = array_of(Vector.from_binary(cipher.open(blob, about)))
    except (ValueError, struct.error) as exc:
        raise StoreDamaged("It is not in the form of a vector.") from exc
    return checked(vector, dimension)


def array_of(vector: Vector) -> NDArray[np.float32]:
    """Return pgvector's vector as (d,) float32."""
    return np.asarray(vector.to_numpy(), np.float32)


async def _subject_rows(connection: Connection, subject: str, columns: str) -> Sequence[Any]:
    rows = await _rows(
        connection,
        f"""SELECT {_HEAD}, {columns} FROM likeness.subjects
        LEFT JOIN likeness.data_keys USING (key_id)
        LEFT JOIN likeness.templates USING (subject)
        WHERE subject = %s ORDER BY number""",
        [subject],
    )
    if not rows:
        raise SubjectNotFound
    return rows


async def _rows(
    connection: Connection, query: str, parameters: Sequence[object] | dict[str, object]
) -> Sequence[Any]:
    return await (await connection.execute(query, parameters, binary=True)).fetchall()


def _summary(
    at: datetime, held: SubjectRow, templates: int, made_by: Sequence[str] | None
) -> SubjectSummary:
    return SubjectSummary(
        held.owner.subject,
        templates,
        utc(at),
        held.metadata,
        held.terms,
        tuple(made_by or ()),
        held.owner.collection,
        held.damaged,
    )


def _stored(
    reader: SubjectReader,
    template_id: str,
    subject: str,
    fingerprint: str,
    image_sha256: str,
    quality: str,
    created_at: datetime,
    expires_at: datetime | None,
) -> StoredTemplate:
    return StoredTemplate(
        template_id,
        subject,
        fingerprint,
        image_sha256,
        reader.read("quality", lambda: quality_of(quality), _NOTHING, template_id, fingerprint),
        utc(created_at),
        None if expires_at is None else utc(expires_at),
    )


def utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
