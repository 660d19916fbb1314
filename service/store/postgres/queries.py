"""Read from a PostgreSQL database: one statement each, and so one state of the database."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from service.errors import StoreError
from service.store.postgres.migrations import Connection
from service.store.records import (
    Counts,
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
from service.store.refusals import no_subject, no_template

_TEMPLATE = (
    "template_id, subject, fingerprint, image_sha256, quality, templates.created_at, expires_at"
)


async def templates_of(connection: Connection, subject: str, now: datetime) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    rows = await _rows(
        connection,
        """SELECT template_id, vector, fingerprint FROM likeness.subjects
        LEFT JOIN likeness.templates ON templates.subject = subjects.subject
            AND (expires_at IS NULL OR expires_at > %s)
        WHERE subjects.subject = %s ORDER BY number""",
        [now, subject],
    )
    if not rows:
        raise no_subject()
    return SubjectTemplates(
        subject,
        tuple(
            GalleryTemplate(name, array_of(vector), made_by)
            for name, vector, made_by in rows
            if name is not None
        ),
    )


async def subjects(connection: Connection, after: str | None, limit: int) -> Page[SubjectSummary]:
    """Return at most `limit` subjects after an id, in code point order."""
    rows = await _rows(
        connection,
        """SELECT subject, page.created_at, metadata, count(number),
            array_agg(DISTINCT fingerprint ORDER BY fingerprint)
                FILTER (WHERE fingerprint IS NOT NULL)
        FROM (
            SELECT * FROM likeness.subjects WHERE %(after)s::text IS NULL OR subject > %(after)s
            ORDER BY subject LIMIT %(limit)s
        ) AS page LEFT JOIN likeness.templates USING (subject)
        GROUP BY subject, page.created_at, metadata ORDER BY subject""",
        {"after": after, "limit": limit + 1},
    )
    items = tuple(
        SubjectSummary(subject, templates, utc(at), json.loads(metadata), tuple(made_by or ()))
        for subject, at, metadata, templates, made_by in rows[:limit]
    )
    return Page(items, items[-1].subject if len(rows) > limit else None)


async def subject_detail(connection: Connection, subject: str) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    rows = await _subject_rows(connection, subject, _TEMPLATE)
    stored = tuple(_stored(*row) for _, _, *row in rows if row[0] is not None)
    return SubjectDetail(subject, utc(rows[0][0]), json.loads(rows[0][1]), stored)


async def export(connection: Connection, subject: str) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    photo = """(SELECT photo FROM likeness.photos WHERE photos.subject = subjects.subject
        AND photos.image_sha256 = templates.image_sha256)"""
    rows = await _subject_rows(connection, subject, f"{photo}, vector, {_TEMPLATE}")
    photos: dict[str, Photo] = {}
    templates = []
    for _, _, photo, vector, *row in rows:
        if vector is not None:
            stored = _stored(*row)
            templates.append(ExportedTemplate.of(stored, array_of(vector)))
            if photo is not None:
                photos[stored.image_sha256] = Photo(stored.image_sha256, photo)
    at, metadata = rows[0][:2]
    return SubjectExport(
        subject, utc(at), json.loads(metadata), tuple(templates), tuple(photos.values())
    )


async def count(connection: Connection) -> Counts:
    """Tell how many subjects and templates there are, expired ones included."""
    ((subjects_, templates),) = await _rows(
        connection, "SELECT sum(subjects)::bigint, sum(templates)::bigint FROM likeness.counts", []
    )
    return Counts(subjects_, templates)


async def not_found(connection: Connection, subject: str) -> StoreError:
    """Return what a subject without the template that was named lacks: that, or all."""
    known = await _rows(connection, "SELECT 1 FROM likeness.subjects WHERE subject = %s", [subject])
    return no_template() if known else no_subject()


def array_of(vector: Vector) -> NDArray[np.float32]:
    """Return the (d,) float32 vector that the driver read."""
    return np.asarray(vector.to_numpy(), np.float32)


async def _subject_rows(connection: Connection, subject: str, columns: str) -> Sequence[Any]:
    rows = await _rows(
        connection,
        f"""SELECT subjects.created_at, metadata, {columns} FROM likeness.subjects
        LEFT JOIN likeness.templates USING (subject)
        WHERE subject = %s ORDER BY number""",
        [subject],
    )
    if not rows:
        raise no_subject()
    return rows


async def _rows(
    connection: Connection, query: str, parameters: Sequence[object] | dict[str, object]
) -> Sequence[Any]:
    return await (await connection.execute(query, parameters, binary=True)).fetchall()


def _stored(
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
        json.loads(quality),
        utc(created_at),
        None if expires_at is None else utc(expires_at),
    )


def utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
