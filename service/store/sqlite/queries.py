"""Read from a SQLite database, as functions of a connection."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from service.errors import StoreError
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
from service.store.sqlite.index import Entry

FLOAT32 = np.dtype("<f4")

_COLUMNS = "template_id, subject, fingerprint, image_sha256, quality, created_at, expires_at"


def templates_of(connection: sqlite3.Connection, subject: str, now: datetime) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    _head(connection, subject)
    rows = connection.execute(
        "SELECT template_id, vector, fingerprint FROM templates "
        "WHERE subject = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY number",
        (subject, stamp(now)),
    ).fetchall()
    return SubjectTemplates(
        subject,
        tuple(GalleryTemplate(name, vector_of(blob), made_by) for name, blob, made_by in rows),
    )


def subjects(connection: sqlite3.Connection, after: str | None, limit: int) -> Page[SubjectSummary]:
    """Return at most `limit` subjects after an id, in code point order."""
    rows = connection.execute(
        "SELECT subject, created_at, metadata, "
        "(SELECT count(*) FROM templates WHERE templates.subject = subjects.subject), "
        "(SELECT json_group_array(DISTINCT fingerprint) FROM templates "
        "WHERE templates.subject = subjects.subject) "
        "FROM subjects WHERE ? IS NULL OR subject > ? ORDER BY subject LIMIT ?",
        (after, after, limit + 1),
    ).fetchall()
    items = tuple(
        SubjectSummary(
            subject,
            templates,
            datetime.fromisoformat(created_at),
            json.loads(metadata),
            tuple(sorted(json.loads(fingerprints))),
        )
        for subject, created_at, metadata, templates, fingerprints in rows[:limit]
    )
    return Page(items, items[-1].subject if len(rows) > limit else None)


def subject_detail(connection: sqlite3.Connection, subject: str) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    created_at, metadata = _head(connection, subject)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    return SubjectDetail(subject, created_at, metadata, tuple(_stored(*row) for row in rows))


def export(connection: sqlite3.Connection, subject: str) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    created_at, metadata = _head(connection, subject)
    rows = connection.execute(
        f"SELECT vector, {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    templates = tuple(ExportedTemplate.of(_stored(*row), vector_of(blob)) for blob, *row in rows)
    photos = connection.execute(
        "SELECT image_sha256, photo FROM photos WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    return SubjectExport(
        subject, created_at, metadata, templates, tuple(Photo(*row) for row in photos)
    )


def count(connection: sqlite3.Connection) -> Counts:
    """Count subjects and templates, expired ones included."""
    ((subjects_, templates),) = connection.execute(
        "SELECT subjects, templates FROM counts"
    ).fetchall()
    return Counts(subjects_, templates)


def entries(
    connection: sqlite3.Connection, template_id: str | None = None, fingerprint: str | None = None
) -> Iterator[Entry]:
    """Return templates as the index holds them, expired ones included.

    All of them, or those of one id, or the one that one bundle has of it.
    """
    chosen = {"template_id": template_id, "fingerprint": fingerprint}
    given = {name: value for name, value in chosen.items() if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    rows = connection.execute(
        "SELECT template_id, subject, fingerprint, vector, expires_at FROM templates "
        f"WHERE {where} ORDER BY number",
        given,
    )
    for template_id, subject, fingerprint, blob, expires_at in rows:
        yield Entry(template_id, subject, fingerprint, vector_of(blob), _moment(expires_at))


def not_found(connection: sqlite3.Connection, subject: str) -> StoreError:
    """Return what a subject without the template that was named lacks: that, or all."""
    known = connection.execute("SELECT 1 FROM subjects WHERE subject = ?", (subject,)).fetchall()
    return no_template() if known else no_subject()


def stamp(at: datetime) -> str:
    """Return a time as UTC ISO-8601 of fixed width, which sorts as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def vector_of(blob: bytes) -> NDArray[np.float32]:
    """Return the (d,) float32 vector of a blob."""
    return np.frombuffer(blob, FLOAT32).astype(np.float32)


def _head(connection: sqlite3.Connection, subject: str) -> tuple[datetime, dict[str, str]]:
    rows = connection.execute(
        "SELECT created_at, metadata FROM subjects WHERE subject = ?", (subject,)
    ).fetchall()
    if not rows:
        raise no_subject()
    ((created_at, metadata),) = rows
    return datetime.fromisoformat(created_at), json.loads(metadata)


def _stored(
    template_id: str,
    subject: str,
    fingerprint: str,
    image_sha256: str,
    quality: str,
    created_at: str,
    expires_at: str | None,
) -> StoredTemplate:
    return StoredTemplate(
        template_id,
        subject,
        fingerprint,
        image_sha256,
        json.loads(quality),
        datetime.fromisoformat(created_at),
        _moment(expires_at),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
