"""Make the search tables of a bundle in a PostgreSQL database again, by another cohort."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pgvector import HalfVector
from psycopg import errors

from models.cohort import Cohort, Vectors
from service.errors import StoreDamaged
from service.store.cohorts import fitting, logged_placing
from service.store.postgres.migrations import Connection
from service.store.postgres.spaces import LOCK, Space, Spaces, vector_of
from service.store.vault import Owner, Vault, WrappedKey

_ROWS_AT_ONCE: Final = 4096

# A large gallery takes long; some of these settings exist only on newer servers.
_NO_TIME_LIMITS: Final = """SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN (
    'statement_timeout', 'lock_timeout', 'transaction_timeout',
    'idle_in_transaction_session_timeout')"""

_TEMPLATES: Final = """SELECT collection, subject, template_id, number, image_sha256, vector,
        key_id, master, wrapped
    FROM likeness.templates JOIN likeness.subjects USING (subject)
    LEFT JOIN likeness.data_keys USING (key_id)
    WHERE fingerprint = %s ORDER BY collection, number"""


async def placed_by(connection: Connection, fingerprint: str) -> str | None:
    """Return the digest of the cohort of a bundle's search tables, None if there are no tables."""
    found = await connection.execute(
        "SELECT digest FROM likeness.cohorts WHERE fingerprint = %s", [fingerprint]
    )
    row = await found.fetchone()
    return None if row is None else str(row[0])


async def place(connection: Connection, spaces: Spaces, fingerprint: str, cohort: Cohort) -> None:
    """Make the search tables of a bundle again by a cohort, unless they are by that cohort already.

    Templates cannot be written meanwhile; searches use the old tables until the commit.
    """
    await connection.execute(_NO_TIME_LIMITS)
    # In the order in which writers take these locks.
    await connection.execute("LOCK TABLE likeness.templates IN SHARE ROW EXCLUSIVE MODE")
    await connection.execute(LOCK)
    if await placed_by(connection, fingerprint) == cohort.digest:
        return
    found = await connection.execute(
        "SELECT count(*) FROM likeness.templates WHERE fingerprint = %s", [fingerprint]
    )
    ((templates,),) = await found.fetchall()
    with logged_placing(templates):
        made = await _fill(connection, spaces, fingerprint, cohort)
        for space in made.values():
            await _index(connection, spaces, space)
        await connection.execute(
            "DELETE FROM likeness.spaces WHERE fingerprint = %s", [fingerprint]
        )
        for space in made.values():
            await spaces.add_row(connection, space)
        await connection.execute(
            """INSERT INTO likeness.cohorts VALUES (%s, %s)
            ON CONFLICT (fingerprint) DO UPDATE SET digest = excluded.digest""",
            [fingerprint, cohort.digest],
        )


# Collection, dimension, and whether the vectors are encrypted.
_Name = tuple[str, int, bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Hold templates of one search table: their numbers, and their vectors (n, d) float32."""

    name: _Name
    numbers: Sequence[int]
    vectors: Vectors


async def _fill(
    connection: Connection, spaces: Spaces, fingerprint: str, cohort: Cohort
) -> dict[_Name, Space]:
    """Make a table for each collection, dimension, and encrypted or not, and fill all tables."""
    made: dict[_Name, Space] = {}
    async for rows in _batches(connection, fingerprint):
        for block in await asyncio.to_thread(_opened, rows, spaces.vault, fingerprint):
            collection, dimension, sealed = block.name
            space = made.get(block.name)
            if space is None:
                name = collection, fingerprint, dimension
                space = await spaces.create(connection, name, sealed=sealed)
                made[block.name] = space
            by = fitting(cohort, dimension)
            placed = await asyncio.to_thread(space.placed, by, block.vectors)
            await _copy(connection, space, block.numbers, placed)
    return made


async def _batches(connection: Connection, fingerprint: str) -> AsyncIterator[list[Any]]:
    async with connection.cursor("likeness_placing", binary=True) as cursor:
        await cursor.execute(_TEMPLATES, [fingerprint])
        while rows := await cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows


def _opened(rows: Sequence[Any], vault: Vault, fingerprint: str) -> list[_Block]:
    blocks: dict[_Name, tuple[list[int], list[Vectors]]] = {}
    for collection, subject, template_id, number, image, blob, *key in rows:
        about = Owner(subject, collection).vector(template_id, image, fingerprint)
        try:
            wrapped = WrappedKey.from_row(*key)
            vector = vector_of(vault.cipher(wrapped), blob, about)
        except StoreDamaged:
            continue  # reported when a request reads it
        name = collection, len(vector), wrapped is not None
        numbers, vectors = blocks.setdefault(name, ([], []))
        numbers.append(number)
        vectors.append(vector)
    return [_Block(name, numbers, np.stack(vectors)) for name, (numbers, vectors) in blocks.items()]


async def _copy(
    connection: Connection, space: Space, numbers: Sequence[int], placed: Vectors
) -> None:
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {space.table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(["int8", "halfvec"])
        for number, vector in zip(numbers, placed, strict=True):
            await copy.write_row((number, HalfVector(vector)))


async def _index(connection: Connection, spaces: Spaces, space: Space) -> None:
    try:
        async with connection.transaction():
            await spaces.index(connection, space)
    except errors.DiskFull:
        # Parallel workers share memory, and a container may have less than they ask for.
        await connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        await spaces.index(connection, space)
