"""The writes to a SQLite database, as functions of a connection inside a transaction."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

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
from service.store.sqlite import collections
from service.store.sqlite.audit_log import append
from service.store.sqlite.index import Entry
from service.store.sqlite.queries import FLOAT32, entries, not_found, stamp, vector_of
from service.store.sqlite.sealing import sealed_subject_row
from service.store.sqlite.writer import WriteResult
from service.store.subject_row import SubjectRow, seal_metadata, seal_terms
from service.store.vault import Vault, of_photo


def enroll(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    templates: Sequence[NewTemplate],
    metadata: Mapping[str, str] | None,
    terms: Terms | None,
    idempotency: Idempotency | None,
    by: str | None,
    collection: str,
    now: datetime,
) -> WriteResult[EnrolmentResult]:
    """Add templates to a subject, and record the result under the idempotency key."""
    forget_requests(connection, now)
    if collection:
        collections.find(connection, collection)
    # First, because the result of a request is deleted with its expired templates.
    removed = _drop_expired(connection, subject, now)
    recorded = None if idempotency is None else _recorded(connection, idempotency)
    if recorded is not None:
        return WriteResult(recorded, removed)
    for template in templates:
        check_ahead(template.expires_at, now)
    held = _put_subject(connection, vault, subject, metadata, terms, collection, now)
    outcomes, added = _add_all(connection, vault, held, templates, now)
    enrolled = EnrolmentResult(tuple(outcomes))
    if idempotency is not None:
        _record(connection, idempotency, enrolled, now)
    if created := sum(outcome.created for outcome in outcomes):
        append(connection, Event("enrolled", subject, by, {"templates": created}), now)
    is_replaced = metadata not in (None, held.metadata) or terms not in (None, held.terms)
    return WriteResult(enrolled, removed, added, erases=bool(removed) or is_replaced)


def delete_subject(
    connection: sqlite3.Connection, subject: str, by: str | None, now: datetime
) -> WriteResult[Deletion]:
    """Delete a subject and its templates. Raises SubjectNotFound."""
    removed = _ids(
        connection.execute(
            "DELETE FROM templates WHERE subject = ? RETURNING template_id", (subject,)
        )
    )
    cursor = connection.execute("DELETE FROM subjects WHERE subject = ?", (subject,))
    if cursor.rowcount == 0:
        raise SubjectNotFound
    event = Event("subject_deleted", subject, by, {"subjects": 1, "templates": len(removed)})
    receipt = append(connection, event, now)
    return WriteResult(Deletion(1, len(removed), receipt), removed, erases=True)


def delete_template(
    connection: sqlite3.Connection, subject: str, template_id: str, by: str | None, now: datetime
) -> WriteResult[Deletion]:
    """Delete all bundles' templates of a photo, and the subject with its last template.

    Raises SubjectNotFound, TemplateNotFound.
    """
    removed = _ids(
        connection.execute(
            "DELETE FROM templates WHERE template_id = ? AND subject = ? RETURNING template_id",
            (template_id, subject),
        )
    )
    if not removed:
        raise not_found(connection, subject)
    subjects = connection.execute(
        "DELETE FROM subjects WHERE subject = :subject "
        "AND NOT EXISTS (SELECT 1 FROM templates WHERE subject = :subject)",
        {"subject": subject},
    ).rowcount
    counts = {"subjects": subjects, "templates": len(removed)}
    receipt = append(connection, Event("template_deleted", subject, by, counts), now)
    return WriteResult(Deletion(subjects, len(removed), receipt), removed, erases=True)


def sweep(connection: sqlite3.Connection, limit: int, now: datetime) -> WriteResult[Deletion]:
    """Delete at most `limit` expired templates, and subjects that have no template left."""
    gone = connection.execute(
        "DELETE FROM templates WHERE number IN (SELECT number FROM templates "
        "WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) RETURNING template_id, subject",
        (stamp(now), limit),
    ).fetchall()
    subjects = 0
    for subject in {subject for _, subject in gone}:
        subjects += connection.execute(
            "DELETE FROM subjects WHERE subject = :subject "
            "AND NOT EXISTS (SELECT 1 FROM templates WHERE subject = :subject)",
            {"subject": subject},
        ).rowcount
    if not gone:
        return WriteResult(Deletion(0, 0))
    counts = {"subjects": subjects, "templates": len(gone)}
    receipt = append(connection, Event("expired", counts=counts), now)
    removed = [template_id for template_id, _ in gone]
    return WriteResult(Deletion(subjects, len(gone), receipt), removed, erases=True)


def touch(connection: sqlite3.Connection) -> WriteResult[None]:
    """Write a value that does not change, to check that the disk has space."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {version}")
    return WriteResult(None)


def forget_requests(connection: sqlite3.Connection, now: datetime) -> None:
    """Delete idempotency records that have expired."""
    connection.execute(
        "DELETE FROM idempotency WHERE created_at <= ?", (stamp(now - IDEMPOTENCY_LASTS),)
    )


def _recorded(connection: sqlite3.Connection, idempotency: Idempotency) -> EnrolmentResult | None:
    rows = connection.execute(
        "SELECT request_sha256, outcome FROM idempotency WHERE key = ?", (idempotency.key,)
    ).fetchall()
    if not rows:
        return None
    ((request_sha256, outcome),) = rows
    if request_sha256 != idempotency.request_sha256:
        raise IdempotencyConflict
    return read_outcome(outcome)


def _record(
    connection: sqlite3.Connection,
    idempotency: Idempotency,
    enrolled: EnrolmentResult,
    now: datetime,
) -> None:
    outcome = json.dumps([(each.template_id, each.created) for each in enrolled.templates])
    connection.execute(
        "INSERT OR REPLACE INTO idempotency (key, request_sha256, outcome, created_at) "
        "VALUES (?, ?, ?, ?)",
        (idempotency.key, idempotency.request_sha256, outcome, stamp(now)),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO request_templates (template_id, key) VALUES (?, ?)",
        [(each.template_id, idempotency.key) for each in enrolled.templates],
    )


def _drop_expired(connection: sqlite3.Connection, subject: str, now: datetime) -> list[str]:
    return _ids(
        connection.execute(
            "DELETE FROM templates WHERE subject = ? AND expires_at <= ? RETURNING template_id",
            (subject, stamp(now)),
        )
    )


def _put_subject(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    metadata: Mapping[str, str] | None,
    terms: Terms | None,
    collection: str,
    now: datetime,
) -> SubjectRow:
    """Create a subject or update its metadata and terms if given; return its row of before."""
    made = connection.execute(
        "INSERT INTO subjects (subject, created_at, metadata, collection) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (subject, stamp(now), b"{}", collection),
    )
    if not made.rowcount:
        held = connection.execute("SELECT collection FROM subjects WHERE subject = ?", (subject,))
        if held.fetchall() != [(collection,)]:
            raise SubjectElsewhere
    before = sealed_subject_row(connection, vault, subject)
    if metadata is not None:
        sealed = seal_metadata(before.cipher, before.owner, metadata)
        connection.execute("UPDATE subjects SET metadata = ? WHERE subject = ?", (sealed, subject))
    if terms is not None:
        sealed = seal_terms(before.cipher, before.owner, terms)
        connection.execute("UPDATE subjects SET terms = ? WHERE subject = ?", (sealed, subject))
    return before


def _add_all(
    connection: sqlite3.Connection,
    vault: Vault,
    held: SubjectRow,
    templates: Sequence[NewTemplate],
    now: datetime,
) -> tuple[list[EnrolledTemplate], list[Entry]]:
    """Add templates; return their outcomes, and the new entries of the index."""
    added: dict[tuple[str, str], Entry] = {}
    outcomes = []
    for template in templates:
        outcome = _add(connection, held, template, now)
        outcomes.append(outcome)
        renewed = template.expires_at is not None
        if outcome.created or renewed:
            # A new expiry is for all bundles' templates; otherwise only one entry changes.
            made_by = None if renewed else template.fingerprint
            for entry in entries(connection, vault, outcome.template_id, made_by):
                added[entry.template_id, entry.fingerprint] = entry
    return outcomes, list(added.values())


def _add(
    connection: sqlite3.Connection, held: SubjectRow, template: NewTemplate, now: datetime
) -> EnrolledTemplate:
    """Add a template unless it exists; all templates of a photo share one id and one expiry."""
    subject, cipher = held.owner.subject, held.cipher
    rows = connection.execute(
        "SELECT subject, image_sha256, fingerprint, template_id, expires_at, vector "
        "FROM templates WHERE template_id = ? OR (subject = ? AND image_sha256 = ?)",
        (template.template_id, subject, template.image_sha256),
    ).fetchall()
    if any(row[:2] != (subject, template.image_sha256) for row in rows):
        raise TemplateIdTaken
    template_id = rows[0][3] if rows else template.template_id
    whole = [
        row
        for row in rows
        if held.holds(vector_of, row[5], row[3], row[2], template) and _is_moment(row[4])
    ]
    expires_at = whole[0][4] if whole else None
    created = all(row[2] != template.fingerprint for row in whole)
    photos = _drop_damaged(connection, subject, template, len(rows) > len(whole) and created)
    if template.expires_at is not None:
        expires_at = stamp(template.expires_at)
        connection.execute(
            "UPDATE templates SET expires_at = ? WHERE template_id = ?", (expires_at, template_id)
        )
    if created:
        connection.execute(
            "INSERT INTO templates (template_id, subject, fingerprint, image_sha256, quality, "
            "created_at, expires_at, vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                template_id,
                subject,
                template.fingerprint,
                template.image_sha256,
                json.dumps(template.quality),
                stamp(now),
                expires_at,
                cipher.seal(
                    template.vector.astype(FLOAT32).tobytes(),
                    held.owner.vector(template_id, template.image_sha256, template.fingerprint),
                ),
            ),
        )
    if template.photo is not None:
        photo = cipher.seal(template.photo, of_photo(template.image_sha256))
        connection.execute(
            "INSERT INTO photos (subject, image_sha256, photo) VALUES (?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (subject, template.image_sha256, photo),
        )
    for photo in photos:
        connection.execute("INSERT OR IGNORE INTO photos VALUES (NULL, ?, ?, ?)", photo)
    return EnrolledTemplate(template_id, created)


def _is_moment(text: str | None) -> bool:
    try:
        moment_of(text)
    except StoreDamaged:
        return False
    return True


def _drop_damaged(
    connection: sqlite3.Connection,
    subject: str,
    template: NewTemplate,
    is_damaged: bool,
) -> list[Any]:
    """Delete a damaged template of the same photo and bundle, so that it can be added again.

    Returns the photo, which the deletion may remove, so that the caller can insert it again.
    """
    if not is_damaged:
        return []
    of_image = subject, template.image_sha256
    photos = connection.execute(
        "SELECT subject, image_sha256, photo FROM photos WHERE subject = ? AND image_sha256 = ?",
        of_image,
    ).fetchall()
    connection.execute(
        "DELETE FROM templates WHERE subject = ? AND image_sha256 = ? AND fingerprint = ?",
        (*of_image, template.fingerprint),
    )
    return photos


def _ids(cursor: sqlite3.Cursor) -> list[str]:
    return [template_id for (template_id,) in cursor.fetchall()]
