"""The change to another bundle in a PostgreSQL database."""

import json
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from service.store.audit import Event
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import not_found, subject_row_of
from service.store.postgres.sealing import sealed_subject_row
from service.store.postgres.spaces import Spaces
from service.store.postgres.statements import lock_subject
from service.store.records import (
    Change,
    Deletion,
    MissingCounts,
    MissingTemplate,
    Photo,
    check_vector,
)
from service.store.vault import Vault, of_photo

# Unexpired templates of the old bundle whose photo the new one has no template of.
_LACKING = """FROM likeness.templates AS held WHERE fingerprint = %(old)s
    AND (expires_at IS NULL OR expires_at > %(now)s) AND NOT EXISTS (
        SELECT 1 FROM likeness.templates AS made WHERE made.fingerprint = %(new)s
        AND made.subject = held.subject AND made.image_sha256 = held.image_sha256
    ) AND (%(collection)s::text IS NULL OR %(collection)s = (
        SELECT collection FROM likeness.subjects WHERE subjects.subject = held.subject
    ))"""
_HAS_PHOTO = """EXISTS (SELECT 1 FROM likeness.photos
    WHERE photos.subject = held.subject AND photos.image_sha256 = held.image_sha256)"""


async def lacking(
    connection: Connection,
    change: Change,
    after: int,
    limit: int,
    collection: str | None,
    now: datetime,
) -> list[MissingTemplate]:
    """Return at most `limit` photos after a number that the new bundle has no template of."""
    rows = await connection.execute(
        f"""SELECT number, subject, template_id, image_sha256, {_HAS_PHOTO} {_LACKING}
        AND number > %(after)s ORDER BY number LIMIT %(limit)s""",
        {**_parameters(change, collection, now), "after": after, "limit": limit},
    )
    return [MissingTemplate(*row) for row in await rows.fetchall()]


async def lack(
    connection: Connection, change: Change, collection: str | None, now: datetime
) -> MissingCounts:
    """Count the photos that the new bundle has no template of."""
    found = await connection.execute(
        f"SELECT count(*), count(*) FILTER (WHERE NOT {_HAS_PHOTO}) {_LACKING}",
        _parameters(change, collection, now),
    )
    ((templates, without_photo),) = await found.fetchall()
    return MissingCounts(templates, without_photo)


async def photo(
    connection: Connection, vault: Vault, subject: str, template_id: str
) -> Photo | str:
    """Return the photo of a template, or the photo's SHA-256 if it was not kept.

    Raises SubjectNotFound, TemplateNotFound.
    """
    found = await connection.execute(
        """SELECT image_sha256, photo
        FROM likeness.templates LEFT JOIN likeness.photos USING (subject, image_sha256)
        WHERE subject = %s AND template_id = %s LIMIT 1""",
        [subject, template_id],
        binary=True,
    )
    row = await found.fetchone()
    if row is None:
        raise await not_found(connection, subject)
    image_sha256, kept = row
    if kept is None:
        return str(image_sha256)
    held = await subject_row_of(connection, vault, subject)
    return Photo(image_sha256, held.cipher.open(kept, of_photo(image_sha256)))


async def add_vector(
    connection: Connection,
    spaces: Spaces,
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
    await lock_subject(connection, subject)
    found = await connection.execute(
        """SELECT fingerprint, image_sha256 FROM likeness.templates
        WHERE subject = %s AND template_id = %s""",
        [subject, template_id],
    )
    templates = await found.fetchall()
    if not templates:
        raise await not_found(connection, subject)
    if any(made_by == fingerprint for made_by, _ in templates):
        return False
    row = await sealed_subject_row(connection, spaces, subject)
    _, image = templates[0]
    about = row.owner.vector(template_id, image, fingerprint)
    sealed = row.cipher.seal(Vector(vector).to_binary(), about)
    inserted = await connection.execute(
        """INSERT INTO likeness.templates (template_id, subject, fingerprint, image_sha256,
        quality, created_at, expires_at, vector)
        SELECT template_id, subject, %s, image_sha256, coalesce(%s, quality), %s, expires_at, %s
        FROM likeness.templates WHERE template_id = %s AND subject = %s
        ORDER BY number LIMIT 1 RETURNING number""",
        [
            fingerprint,
            None if quality is None else json.dumps(quality),
            now,
            sealed,
            template_id,
            subject,
        ],
    )
    ((number,),) = await inserted.fetchall()
    # After the row, which keeps the collection from being deleted until the commit.
    space = await spaces.within(connection, row.owner.collection, fingerprint, len(vector))
    await spaces.add(connection, space, number, vector)
    await append(connection, Event("reembedded", subject, by, {"templates": 1}), now)
    return True


async def fingerprints(connection: Connection) -> dict[str, int]:
    """Return the number of templates of each bundle, by its fingerprint."""
    rows = await connection.execute(
        "SELECT fingerprint, count(*) FROM likeness.templates GROUP BY fingerprint"
    )
    return {str(fingerprint): int(count) for fingerprint, count in await rows.fetchall()}


async def switched_to(connection: Connection) -> str | None:
    """Return the fingerprint of the last switch, None if there was none."""
    row = await (await connection.execute("SELECT fingerprint FROM likeness.switched")).fetchone()
    return None if row is None else str(row[0])


async def switch_to(
    connection: Connection, fingerprint: str, by: str | None, now: datetime
) -> None:
    """Record which bundle serves from now on."""
    await connection.execute(
        """INSERT INTO likeness.switched VALUES (true, %s)
        ON CONFLICT (single) DO UPDATE SET fingerprint = excluded.fingerprint""",
        [fingerprint],
    )
    await append(connection, Event("switched", key_id=by), now)


async def forget(
    connection: Connection, fingerprint: str, by: str | None, now: datetime
) -> Deletion:
    """Delete every template of a bundle, and the subjects that have no other template."""
    templates = await connection.execute(
        "DELETE FROM likeness.templates WHERE fingerprint = %s", [fingerprint]
    )
    subjects = await connection.execute(
        """DELETE FROM likeness.subjects WHERE NOT EXISTS
        (SELECT 1 FROM likeness.templates WHERE templates.subject = subjects.subject)"""
    )
    counts = {"subjects": subjects.rowcount, "templates": templates.rowcount}
    receipt = await append(connection, Event("bundle_forgotten", key_id=by, counts=counts), now)
    return Deletion(subjects.rowcount, templates.rowcount, receipt)


def _parameters(change: Change, collection: str | None, now: datetime) -> dict[str, object]:
    return {"old": change.old, "new": change.new, "collection": collection, "now": now}
