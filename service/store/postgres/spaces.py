"""A table to search for each fingerprint and dimension: vectors of two bundles never meet.

The tables hold half-precision copies, which halve the index; what they suggest is compared
exactly, by the vectors in `templates`. A row goes when its template goes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection

# Among a million faces pgvector's own choices (16, 64, and 40 to search by) find the nearest
# first in fewer than nine searches of ten, these and the session's `hnsw.ef_search` in 99 of 100.
HNSW = "USING hnsw (vector halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)"
# pgvector indexes at most so many dimensions of half precision; beyond, a search is a scan.
_INDEXED = 4000
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('likeness.spaces', 2))"


class Spaces:
    """Find and make the tables; what is known once is known for good, as none is dropped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int], int] = {}

    async def find(self, fingerprint: str, dimension: int) -> int | None:
        """Return the number of a space, or None if nothing was ever enrolled in it."""
        space = self._known.get((fingerprint, dimension))
        if space is None:
            # Another replica may have made it.
            space = await self._database.read(lambda c: _number(c, fingerprint, dimension))
            if space is not None:
                self._known[fingerprint, dimension] = space
        return space

    async def of(self, fingerprint: str, dimension: int) -> int:
        """Return the number of a space, making it if there is none."""
        space = await self.find(fingerprint, dimension)
        if space is None:
            space = await self._database.write(lambda c: _make(c, fingerprint, dimension))
            self._known[fingerprint, dimension] = space
        return space


def table_of(space: int) -> str:
    return f"likeness.search_{space}"


async def add(connection: Connection, space: int, number: int, vector: NDArray[np.float32]) -> None:
    """Make a template findable; `vector` is (d,) float32."""
    await connection.execute(
        f"INSERT INTO {table_of(space)} VALUES (%s, %s::vector::halfvec({len(vector)}))",
        [number, Vector(vector)],
    )


async def nearest(
    connection: Connection, space: int, vector: NDArray[np.float32], rows: int
) -> Sequence[Any]:
    """Return (subject, template_id, similarity, expires_at) of about the nearest, in any order."""
    found = await connection.execute(
        f"""WITH near AS MATERIALIZED (
            SELECT number FROM {table_of(space)}
            ORDER BY vector <=> %(vector)s::vector::halfvec({len(vector)}) LIMIT {rows}
        )
        SELECT subject, template_id, 1 - (vector <=> %(vector)s), expires_at
        FROM near JOIN likeness.templates USING (number)""",
        {"vector": Vector(vector)},
        binary=True,
    )
    return await found.fetchall()


async def everything(
    connection: Connection, space: int, vector: NDArray[np.float32]
) -> Sequence[Any]:
    """Return the same of every template of the space."""
    found = await connection.execute(
        f"""SELECT subject, template_id, 1 - (templates.vector <=> %s), expires_at
        FROM {table_of(space)} JOIN likeness.templates USING (number)""",
        [Vector(vector)],
        binary=True,
    )
    return await found.fetchall()


async def _number(connection: Connection, fingerprint: str, dimension: int) -> int | None:
    found = await connection.execute(
        "SELECT space FROM likeness.spaces WHERE fingerprint = %s AND dimension = %s",
        [fingerprint, dimension],
    )
    row = await found.fetchone()
    return None if row is None else int(row[0])


async def _make(connection: Connection, fingerprint: str, dimension: int) -> int:
    await connection.execute(_LOCK)
    known = await _number(connection, fingerprint, dimension)
    if known is not None:
        return known
    made = await connection.execute(
        "INSERT INTO likeness.spaces (fingerprint, dimension) VALUES (%s, %s) RETURNING space",
        [fingerprint, dimension],
    )
    ((space,),) = await made.fetchall()
    table = table_of(space)
    await connection.execute(
        f"""CREATE TABLE {table} (
            number bigint PRIMARY KEY REFERENCES likeness.templates ON DELETE CASCADE,
            vector halfvec({dimension}) NOT NULL
        )"""
    )
    if dimension <= _INDEXED:
        await connection.execute(f"CREATE INDEX ON {table} {HNSW}")
    return int(space)
