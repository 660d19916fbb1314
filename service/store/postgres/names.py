"""Subject names of earlier releases in a PostgreSQL database."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from service.errors import StoreDamaged, SubjectExists, SubjectNotFound
from service.store.names import is_odd, log_left, new_names, odd_name
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.rename import rename
from service.store.records import Clock, OddName, Page
from service.store.vault import Vault


async def settle(database: Database, vault: Vault, clock: Clock) -> None:
    """Rename the marked subjects, unless two names would become the same; log the number left."""
    marked = await database.read(_marked)
    plain = [subject for subject in marked if not is_odd(subject)]
    if plain:  # a replica of an earlier release enrolled them
        await database.write(partial(_clear, subjects=plain))
    for subject, to in new_names(marked).items():
        await _rename(database, vault, clock, subject, to)
    left = await database.read(_marked)
    log_left(len(left))


async def odd_names(connection: Connection, after: str | None, limit: int) -> Page[OddName]:
    """Return at most `limit` marked subjects, in code point order."""
    found = await connection.execute(
        """SELECT subject FROM likeness.subjects WHERE odd_name AND subject > %s
        ORDER BY subject LIMIT %s""",
        [after or "", limit + 1],
    )
    rows = await found.fetchall()
    items = tuple(odd_name(subject) for (subject,) in rows[:limit])
    return Page(items, items[-1].subject if len(rows) > limit else None)


async def _rename(database: Database, vault: Vault, clock: Clock, subject: str, to: str) -> None:
    # Another replica may be faster; and a damaged subject must not stop the others, or the start.
    with suppress(SubjectExists, SubjectNotFound, StoreDamaged):
        await database.write(lambda c: rename(c, vault, subject, to, None, clock()))


async def _marked(connection: Connection) -> list[str]:
    found = await connection.execute(
        "SELECT subject FROM likeness.subjects WHERE odd_name ORDER BY subject"
    )
    return [subject for (subject,) in await found.fetchall()]


async def _clear(connection: Connection, subjects: Sequence[str]) -> None:
    await connection.execute(
        "UPDATE likeness.subjects SET odd_name = false WHERE subject = ANY(%s)", [list(subjects)]
    )
