"""The writes to a PostgreSQL database, as functions of a connection inside a transaction.

Each begins with a lock on its subject, until the commit. So writers of one subject take turns on
all replicas, and every statement sees the changes of the writers before.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pgvector import Vector

from service.errors import IdempotencyConflict, SubjectElsewhere, SubjectNotFound, TemplateIdTaken
from service.store.audit import Event
from service.store.damage import read_outcome
from service.store.postgres.audit_log import append
from service.store.postgres.collections import hold
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import not_found, vector_of
from service.store.postgres.sealing import sealed_subject_row
from service.store.postgres.spaces import Space, Spaces
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
from service.store.subject_row import SubjectRow, seal_metadata, seal_terms
from service.store.vault import of_photo

# The seed of a lock's hash, so that a subject and a key of the same text have different locks.
_SUBJECT, _KEY = 0, 1


async def enroll(
    connection: Connection,
    spaces: Spaces,
    subject: str,
    templates: Sequence[tuple[NewTemplate, Space]],
    metadata: Mapping[str, str] | None,
    terms: Terms | None,
    idempotency: Idempotency | None,
    by: str | None,
    collection: str,
    now: datetime,
) -> EnrolmentResult:
    """Add templates, each with its search table, and record the result of the request."""
    if collection:
        await hold(connection, collection)
    if idempotency is not None:
        # Always before the subject's lock, to prevent deadlocks.
        await _lock(connection, idempotency.key, _KEY)
    await lock_subject(connection, subject)
    # First, because the result of a request is deleted with its expired templates.
    await connection.execute(
        "DELETE FROM likeness.templates WHERE subject = %s AND expires_at <= %s", [subject, now]
    )
    recorded = None if idempotency is None else await _recorded(connection, idempotency, now)
    if recorded is not None:
        return recorded
    for template, _ in templates:
        check_ahead(template.expires_at, now)
    held = await _put_subject(connection, spaces, subject, metadata, terms, collection, now)
    outcomes = []
    for template, space in templates:
        outcomes.append(await _add(connection, spaces, held, template, space, now))
    enrolled = EnrolmentResult(tuple(outcomes))
    if idempotency is not None:
        await _record(connection, idempotency, enrolled, now)
    if created := sum(outcome.created for outcome in outcomes):
        await append(connection, Event("enrolled", subject, by, {"templates": created}), now)
    return enrolled


async def delete_subject(
    connection: Connection, subject: str, by: str | None, now: datetime
) -> Deletion:
    """Delete a subject and its templates. Raises SubjectNotFound."""
    await lock_subject(connection, subject)
    templates = await connection.execute(
        "DELETE FROM likeness.templates WHERE subject = %s", [subject]
    )
    subjects = await connection.execute(
        "DELETE FROM likeness.subjects WHERE subject = %s", [subject]
    )
    if subjects.rowcount == 0:
        raise SubjectNotFound
    counts = {"subjects": 1, "templates": templates.rowcount}
    receipt = await append(connection, Event("subject_deleted", subject, by, counts), now)
    return Deletion(1, templates.rowcount, receipt)


async def delete_template(
    connection: Connection, subject: str, template_id: str, by: str | None, now: datetime
) -> Deletion:
    """Delete all bundles' templates of a photo, and the subject with its last template.

    Raises SubjectNotFound, TemplateNotFound.
    """
    await lock_subject(connection, subject)
    templates = await connection.execute(
        "DELETE FROM likeness.templates WHERE template_id = %s AND subject = %s",
        [template_id, subject],
    )
    if templates.rowcount == 0:
        raise await not_found(connection, subject)
    subjects = await connection.execute(
        """DELETE FROM likeness.subjects WHERE subject = %(subject)s AND NOT EXISTS
        (SELECT 1 FROM likeness.templates WHERE subject = %(subject)s)""",
        {"subject": subject},
    )
    counts = {"subjects": subjects.rowcount, "templates": templates.rowcount}
    receipt = await append(connection, Event("template_deleted", subject, by, counts), now)
    return Deletion(subjects.rowcount, templates.rowcount, receipt)


async def sweep(connection: Connection, limit: int, now: datetime) -> Deletion:
    """Delete at most `limit` expired templates, and subjects that have no template left."""
    gone = await connection.execute(
        """DELETE FROM likeness.templates WHERE number IN (
            SELECT number FROM likeness.templates WHERE expires_at <= %s
            ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
        ) RETURNING subject""",
        [now, limit],
    )
    names = [subject for (subject,) in await gone.fetchall()]
    subjects = await connection.execute(
        """DELETE FROM likeness.subjects WHERE subject = ANY(%s) AND NOT EXISTS
        (SELECT 1 FROM likeness.templates WHERE templates.subject = subjects.subject)""",
        [names],
    )
    if not names:
        return Deletion(0, 0)
    counts = {"subjects": subjects.rowcount, "templates": len(names)}
    receipt = await append(connection, Event("expired", counts=counts), now)
    return Deletion(subjects.rowcount, len(names), receipt)


async def lock_subject(connection: Connection, subject: str) -> None:
    """Lock a subject against other writers until the commit."""
    await _lock(connection, subject, _SUBJECT)


async def _lock(connection: Connection, name: str, kind: int) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, kind])


async def _recorded(
    connection: Connection, idempotency: Idempotency, now: datetime
) -> EnrolmentResult | None:
    # Another transaction may be deleting the same old records, in another order.
    await connection.execute(
        """DELETE FROM likeness.idempotency WHERE key IN (SELECT key FROM likeness.idempotency
        WHERE created_at <= %s LIMIT 100 FOR UPDATE SKIP LOCKED)""",
        [now - IDEMPOTENCY_LASTS],
    )
    found = await connection.execute(
        """SELECT request_sha256, outcome FROM likeness.idempotency
        WHERE key = %s AND created_at > %s""",
        [idempotency.key, now - IDEMPOTENCY_LASTS],
    )
    row: tuple[Any, ...] | None = await found.fetchone()
    if row is None:
        return None
    request_sha256, outcome = row
    if request_sha256 != idempotency.request_sha256:
        raise IdempotencyConflict
    return read_outcome(outcome)


async def _record(
    connection: Connection, idempotency: Idempotency, enrolled: EnrolmentResult, now: datetime
) -> None:
    outcome = json.dumps([(each.template_id, each.created) for each in enrolled.templates])
    # A record of a day ago may still be there.
    await connection.execute("DELETE FROM likeness.idempotency WHERE key = %s", [idempotency.key])
    await connection.execute(
        """INSERT INTO likeness.idempotency (key, request_sha256, outcome, created_at)
        VALUES (%s, %s, %s, %s)""",
        [idempotency.key, idempotency.request_sha256, outcome, now],
    )
    await connection.execute(
        """INSERT INTO likeness.request_templates (template_id, key)
        SELECT DISTINCT unnest(%s::text[]), %s""",
        [[each.template_id for each in enrolled.templates], idempotency.key],
    )


async def _put_subject(
    connection: Connection,
    spaces: Spaces,
    subject: str,
    metadata: Mapping[str, str] | None,
    terms: Terms | None,
    collection: str,
    now: datetime,
) -> SubjectRow:
    """Create a subject or update its metadata and terms if given; return its row of before."""
    made = await connection.execute(
        """INSERT INTO likeness.subjects (subject, created_at, metadata, collection, odd_name)
        VALUES (%s, %s, %s, %s, false) ON CONFLICT DO NOTHING""",
        [subject, now, b"{}", collection],
    )
    if not made.rowcount:
        held = await connection.execute(
            "SELECT collection FROM likeness.subjects WHERE subject = %s", [subject]
        )
        # If the subject was deleted meanwhile, adding a template fails, and the work runs again.
        if await held.fetchone() not in (None, (collection,)):
            raise SubjectElsewhere
    before = await sealed_subject_row(connection, spaces, subject)
    if metadata is not None:
        await connection.execute(
            "UPDATE likeness.subjects SET metadata = %s WHERE subject = %s",
            [seal_metadata(before.cipher, before.owner, metadata), subject],
        )
    if terms is not None:
        await connection.execute(
            "UPDATE likeness.subjects SET terms = %s WHERE subject = %s",
            [seal_terms(before.cipher, before.owner, terms), subject],
        )
    return before


async def _add(
    connection: Connection,
    spaces: Spaces,
    held: SubjectRow,
    template: NewTemplate,
    space: Space,
    now: datetime,
) -> EnrolledTemplate:
    """Add a template unless it exists; all templates of a photo share one id and one expiry."""
    subject, cipher = held.owner.subject, held.cipher
    # Locked, so that a sweep cannot erase them before the request's result is recorded.
    found = await connection.execute(
        """SELECT subject, image_sha256, fingerprint, template_id, expires_at, vector
        FROM likeness.templates
        WHERE template_id = %s OR (subject = %s AND image_sha256 = %s) FOR KEY SHARE""",
        [template.template_id, subject, template.image_sha256],
        binary=True,
    )
    rows = await found.fetchall()
    if any(row[:2] != (subject, template.image_sha256) for row in rows):
        raise TemplateIdTaken
    template_id, expires_at = rows[0][3:5] if rows else (template.template_id, None)
    if template.expires_at is not None:
        expires_at = template.expires_at
        await connection.execute(
            "UPDATE likeness.templates SET expires_at = %s WHERE template_id = %s",
            [expires_at, template_id],
        )
    whole = [row for row in rows if held.holds(vector_of, row[5], row[3], row[2], template)]
    created = all(row[2] != template.fingerprint for row in whole)
    photos = await _drop_damaged(connection, subject, template, len(rows) > len(whole) and created)
    if created:
        made = await connection.execute(
            """INSERT INTO likeness.templates (template_id, subject, fingerprint, image_sha256,
            quality, created_at, expires_at, vector) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            RETURNING number""",
            [
                template_id,
                subject,
                template.fingerprint,
                template.image_sha256,
                json.dumps(template.quality),
                now,
                expires_at,
                cipher.seal(
                    Vector(template.vector).to_binary(),
                    held.owner.vector(template_id, template.image_sha256, template.fingerprint),
                ),
            ],
        )
        ((number,),) = await made.fetchall()
        await spaces.add(connection, space, number, template.vector)
    if template.photo is not None:
        await connection.execute(
            """INSERT INTO likeness.photos (subject, image_sha256, photo) VALUES (%s, %s, %s)
            ON CONFLICT DO NOTHING""",
            [
                subject,
                template.image_sha256,
                cipher.seal(template.photo, of_photo(template.image_sha256)),
            ],
        )
    for photo in photos:
        await connection.execute(
            """INSERT INTO likeness.photos (subject, image_sha256, photo) VALUES (%s, %s, %s)
            ON CONFLICT DO NOTHING""",
            photo,
        )
    return EnrolledTemplate(template_id, created)


async def _drop_damaged(
    connection: Connection, subject: str, template: NewTemplate, is_damaged: bool
) -> list[Any]:
    """Delete a damaged template of the same photo and bundle, so that it can be added again.

    Returns the photo, which the deletion may remove, so that the caller can insert it again.
    """
    if not is_damaged:
        return []
    of_image = [subject, template.image_sha256]
    photos = await connection.execute(
        """SELECT subject, image_sha256, photo FROM likeness.photos
        WHERE subject = %s AND image_sha256 = %s""",
        of_image,
        binary=True,
    )
    kept = await photos.fetchall()
    await connection.execute(
        """DELETE FROM likeness.templates
        WHERE subject = %s AND image_sha256 = %s AND fingerprint = %s""",
        [*of_image, template.fingerprint],
    )
    return kept
