"""The change to another bundle in a SQLite database, as functions of a connection."""

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from service.store.audit import Event
from service.store.records import (
    Change,
    Deletion,
    MissingCounts,
    MissingTemplate,
    Photo,
    check_vector,
)
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import FLOAT32, entries, not_found, stamp, subject_row_of
from service.store.sqlite.sealing import sealed_subject_row
from service.store.sqlite.writer import WriteResult
from service.store.vault import Vault, of_photo

# Unexpired templates of the old bundle whose photo the new one has no template of.
_LACKING = """FROM templates AS held WHERE fingerprint = :old
    AND (expires_at IS NULL OR expires_at > :now) AND NOT EXISTS (
        SELECT 1 FROM templates WHERE fingerprint = :new
        AND subject = held.subject AND image_sha256 = held.image_sha256
    ) AND (:collection IS NULL OR :collection = (
        SELECT collection FROM subjects WHERE subject = held.subject
    ))"""
_HAS_PHOTO = """EXISTS (SELECT 1 FROM photos
    WHERE subject = held.subject AND image_sha256 = held.image_sha256)"""


def lacking(
    connection: sqlite3.Connection,
    change: Change,
    after: int,
    limit: int,
    collection: str | None,
    now: datetime,
) -> list[MissingTemplate]:
    """Return at most `limit` photos after a number that the new bundle has no template of."""
    rows = connection.execute(
        f"SELECT number, subject, template_id, image_sha256, {_HAS_PHOTO} {_LACKING} "
        "AND number > :after ORDER BY number LIMIT :limit",
        {**_parameters(change, collection, now), "after": after, "limit": limit},
    )
    return [
        MissingTemplate(number, subject, template_id, image_sha256, bool(has_photo))
        for number, subject, template_id, image_sha256, has_photo in rows.fetchall()
    ]


def lack(
    connection: sqlite3.Connection, change: Change, collection: str | None, now: datetime
) -> MissingCounts:
    """Count the photos that the new bundle has no template of."""
    ((templates, with_photo),) = connection.execute(
        f"SELECT count(*), coalesce(sum({_HAS_PHOTO}), 0) {_LACKING}",
        _parameters(change, collection, now),
    ).fetchall()
    return MissingCounts(templates, templates - with_photo)


def photo(
    connection: sqlite3.Connection, vault: Vault, subject: str, template_id: str
) -> Photo | str:
    """Return the photo of a template, or the photo's SHA-256 if it was not kept.

    Raises SubjectNotFound, TemplateNotFound.
    """
    rows = connection.execute(
        "SELECT image_sha256, photo FROM templates LEFT JOIN photos USING (subject, image_sha256) "
        "WHERE subject = ? AND template_id = ? LIMIT 1",
        (subject, template_id),
    ).fetchall()
    if not rows:
        raise not_found(connection, subject)
    ((image_sha256, kept),) = rows
    if kept is None:
        return str(image_sha256)
    _, held = subject_row_of(connection, vault, subject)
    return Photo(image_sha256, held.cipher.open(kept, of_photo(image_sha256)))


def add_vector(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    template_id: str,
    fingerprint: str,
    vector: NDArray[np.float32],
    quality: Mapping[str, float] | None,
    by: str | None,
    now: datetime,
) -> WriteResult[bool]:
    """Add another bundle's vector of a photo; the result is False if there is one already.

    Raises SubjectNotFound, TemplateNotFound, DegenerateVector.
    """
    check_vector(vector)
    templates = connection.execute(
        "SELECT fingerprint, image_sha256 FROM templates WHERE subject = ? AND template_id = ?",
        (subject, template_id),
    ).fetchall()
    if not templates:
        raise not_found(connection, subject)
    if any(made_by == fingerprint for made_by, _ in templates):
        return WriteResult(False)
    row = sealed_subject_row(connection, vault, subject)
    about = row.owner.vector(template_id, templates[0][1], fingerprint)
    connection.execute(
        "INSERT INTO templates (template_id, subject, fingerprint, image_sha256, quality, "
        "created_at, expires_at, vector) SELECT template_id, subject, ?, image_sha256, "
        "coalesce(?, quality), ?, expires_at, ? FROM templates WHERE template_id = ? "
        "ORDER BY number LIMIT 1",
        (
            fingerprint,
            None if quality is None else json.dumps(quality),
            stamp(now),
            row.cipher.seal(vector.astype(FLOAT32).tobytes(), about),
            template_id,
        ),
    )
    append(connection, Event("reembedded", subject, by, {"templates": 1}), now)
    return WriteResult(True, added=list(entries(connection, vault, template_id, fingerprint)))


def fingerprints(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of templates of each bundle, by its fingerprint."""
    return dict(
        connection.execute("SELECT fingerprint, count(*) FROM templates GROUP BY fingerprint")
    )


def switched_to(connection: sqlite3.Connection) -> str | None:
    """Return the fingerprint of the last switch, None if there was none."""
    rows = connection.execute("SELECT fingerprint FROM switched").fetchall()
    return rows[0][0] if rows else None


def switch_to(
    connection: sqlite3.Connection, fingerprint: str, by: str | None, now: datetime
) -> WriteResult[None]:
    """Record which bundle serves from now on."""
    connection.execute("INSERT OR REPLACE INTO switched VALUES (1, ?)", (fingerprint,))
    append(connection, Event("switched", key_id=by), now)
    return WriteResult(None)


def forget(
    connection: sqlite3.Connection, fingerprint: str, by: str | None, now: datetime
) -> WriteResult[Deletion]:
    """Delete every template of a bundle, and the subjects that have no other template."""
    rows = connection.execute(
        "DELETE FROM templates WHERE fingerprint = ? RETURNING 1", (fingerprint,)
    ).fetchall()
    subjects = connection.execute(
        "DELETE FROM subjects WHERE NOT EXISTS "
        "(SELECT 1 FROM templates WHERE templates.subject = subjects.subject)"
    ).rowcount
    counts = {"subjects": subjects, "templates": len(rows)}
    receipt = append(connection, Event("bundle_forgotten", key_id=by, counts=counts), now)
    return WriteResult(Deletion(subjects, len(rows), receipt), forgotten=fingerprint, erases=True)


def _parameters(change: Change, collection: str | None, now: datetime) -> dict[str, object]:
    return {"old": change.old, "new": change.new, "collection": collection, "now": stamp(now)}
