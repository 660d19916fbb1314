"""Give a subject of a PostgreSQL database another name."""

from datetime import datetime

from service.store.audit import AuditEntry, Event
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.statements import lock_subject
from service.store.refusals import name_taken, no_subject

# One statement: whose rows these are is checked at its end, and holds again.
_RENAME = """WITH
    of_templates AS (
        UPDATE likeness.templates SET subject = %(to)s WHERE subject = %(subject)s
    ),
    of_photos AS (UPDATE likeness.photos SET subject = %(to)s WHERE subject = %(subject)s)
    UPDATE likeness.subjects SET subject = %(to)s WHERE subject = %(subject)s"""


async def rename(
    connection: Connection, subject: str, to: str, by: str | None, now: datetime
) -> AuditEntry:
    """Rename a subject; its key, and what it seals, stay. Raises SubjectNotFound, SubjectExists."""
    # In one order, lest two who swap names wait for each other.
    for name in sorted({subject, to}):
        await lock_subject(connection, name)
    taken = await connection.execute("SELECT FROM likeness.subjects WHERE subject = %s", [to])
    if taken.rowcount:
        raise name_taken()
    # Templates first, as in a deletion; a sweep knows of no subject's lock.
    await connection.execute(
        "SELECT FROM likeness.templates WHERE subject = %s ORDER BY number FOR UPDATE", [subject]
    )
    renamed = await connection.execute(_RENAME, {"subject": subject, "to": to})
    if not renamed.rowcount:
        raise no_subject()
    await append(connection, Event("renamed_from", subject, by), now)
    return await append(connection, Event("renamed_to", to, by), now)
