"""The renaming of a subject in a PostgreSQL database."""

from datetime import datetime

from service.errors import SubjectExists, SubjectNotFound
from service.store.audit import AuditEntry, Event
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import subject_row_of
from service.store.postgres.statements import lock_subject
from service.store.subject_row import SubjectRow, seal_metadata, seal_terms
from service.store.unbound import reseal_value
from service.store.vault import ClearCipher, Owner, Vault

# One statement, because foreign keys are checked at its end.
_RENAME = """WITH
    of_templates AS (
        UPDATE likeness.templates SET subject = %(to)s WHERE subject = %(subject)s
    ),
    of_photos AS (UPDATE likeness.photos SET subject = %(to)s WHERE subject = %(subject)s),
    of_requests AS (
        DELETE FROM likeness.idempotency WHERE key IN (
            SELECT key FROM likeness.request_templates JOIN likeness.templates USING (template_id)
            WHERE subject = %(subject)s)
    )
    UPDATE likeness.subjects SET subject = %(to)s, odd_name = false,
        metadata = %(metadata)s, terms = %(terms)s
    WHERE subject = %(subject)s"""


async def rename(
    connection: Connection, vault: Vault, subject: str, to: str, by: str | None, now: datetime
) -> AuditEntry:
    """Rename a subject: its key stays, and values that are bound to the name are encrypted again.

    Raises SubjectNotFound, SubjectExists.
    """
    # In a fixed order, so that two requests that swap names do not wait for each other.
    for name in sorted({subject, to}):
        await lock_subject(connection, name)
    taken = await connection.execute("SELECT FROM likeness.subjects WHERE subject = %s", [to])
    if taken.rowcount:
        raise SubjectExists
    # Templates first, as in a deletion, because a sweep does not lock subjects.
    templates = await connection.execute(
        """SELECT number, vector, template_id, image_sha256, fingerprint FROM likeness.templates
        WHERE subject = %s ORDER BY number FOR UPDATE""",
        [subject],
        binary=True,
    )
    held = await subject_row_of(connection, vault, subject)
    held.check_whole()
    owner = Owner(to, held.owner.collection)
    renamed = await connection.execute(
        _RENAME,
        {
            "subject": subject,
            "to": to,
            "metadata": seal_metadata(held.cipher, owner, held.metadata),
            "terms": seal_terms(held.cipher, owner, held.terms),
        },
    )
    if not renamed.rowcount:
        raise SubjectNotFound
    if not isinstance(held.cipher, ClearCipher):
        await connection.cursor().executemany(
            "UPDATE likeness.templates SET vector = %s WHERE number = %s",
            [
                (_bound(held, owner, vector, *of_template), number)
                for number, vector, *of_template in await templates.fetchall()
            ],
        )
    await append(connection, Event("renamed_from", subject, by), now)
    return await append(connection, Event("renamed_to", to, by), now)


def _bound(held: SubjectRow, owner: Owner, vector: bytes, *of_template: str) -> bytes:
    before, after = held.owner.vector(*of_template), owner.vector(*of_template)
    return reseal_value(held.cipher, vector, before, after)
