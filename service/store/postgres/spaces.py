"""The search tables, one for each collection, fingerprint and dimension.

So vectors of two bundles are never compared, and a search of a small collection does not read the
rows of a large one. The tables hold half-precision copies, which halve the index; the suggested
rows are compared exactly, by the vectors in `templates`. A row is deleted with its template, a
table with its collection. Encrypted vectors have their own search tables, in which they are
rotated (see `orthogonal`).

A row is a vector and one more number, minus half of its cohort mean, so that the inner product
with the probe and a 1 ranks as scores do (see `models.cohort`). The cohort of each fingerprint is
recorded; for another cohort the tables are made again (see `placing`).
"""

import asyncio
import secrets
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import errors

from models.cohort import Cohort, Vectors, index_query
from service.errors import CollectionNotFound, StoreDamaged, StoreUnavailable
from service.store.cohorts import Cohorts
from service.store.damage import checked
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.orthogonal import Turn, turn_of
from service.store.postgres.schema import VACUUM_SOON
from service.store.vault import KEY_BYTES, Cipher, Vault, WrappedKey, rotation_use

# Among a million faces pgvector's defaults (16, 64, and ef_search 40) find the nearest face in
# fewer than nine of ten searches; these values and `likeness.nearest` find it in 99 of 100.
HNSW = "USING hnsw (vector halfvec_ip_ops) WITH (m = 24, ef_construction = 200)"
# pgvector indexes at most so many dimensions of half precision; with more, a search reads all rows.
_INDEXED = 4000
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('likeness.spaces', 2))"

# The largest length of a row: a unit vector, and half of a cohort mean of at most 1.
_LONGEST: Final = 1.25**0.5

T = TypeVar("T")

# The most tables to remember: a rotation of 512 dimensions takes a megabyte.
_REMEMBERED: Final = 128

# Collection, fingerprint and dimension.
_Name = tuple[str, str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Name a search table: of rotated, encrypted vectors if it has a key, else of clear vectors.

    `dimension` is the dimension d of the vectors. Rows of a clear table have one more number. Rows
    of a rotated table have two more; the last gives all rows the same length, because the length
    would reveal the cohort mean. `turn` is the rotation, (d + 2, d + 2).
    """

    number: int
    collection: str
    fingerprint: str
    dimension: int
    key_id: str | None = None
    turn: Turn | None = None

    @property
    def table(self) -> str:
        return f"likeness.search_{self.number}"

    @property
    def width(self) -> int:
        """Return the number of dimensions of a row."""
        return self.dimension + (1 if self.key_id is None else 2)

    @property
    def parameter(self) -> str:
        """Return the SQL parameter for a row of the table, or for a query of it."""
        return f"%(vector)s::vector::halfvec({self.width})"

    def placed(self, cohort: Cohort, vectors: Vectors) -> Vectors:
        """Return the rows of this table for vectors (n, d)."""
        return self.turned(cohort.index_rows(vectors))

    def asked(self, vector: NDArray[np.float32]) -> Vector:
        """Return the query vector of this table for a probe (d,)."""
        row = index_query(vector)
        return Vector(row if self.turn is None else self.turn @ np.append(row, np.float32(0)))

    def turned(self, rows: Vectors) -> Vectors:
        """Return the rows of this table for rows (n, d + 1): rotated, or as they are."""
        if self.turn is None:
            return rows
        lacking = np.maximum(_LONGEST**2 - np.sum(rows**2, axis=1, keepdims=True), 0)
        return np.asarray(
            np.concatenate([rows, np.sqrt(lacking)], axis=1) @ self.turn.T, np.float32
        )


class Spaces:
    """Find, create and remember the search tables.

    A table's number is never used twice. So a process that remembers a dropped table gets an
    error instead of another table, and looks it up again.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self.vault = vault
        self.cohorts = Cohorts()
        self._known: dict[_Name, Space] = {}
        self._clear: dict[_Name, Space | None] = {}
        self._turns: dict[str, Turn] = {}  # by the id of the key, which never changes

    async def using(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work that uses search tables, and run it again if a table was dropped meanwhile."""
        try:
            return await work()
        except StoreUnavailable as exc:
            if not isinstance(exc.__cause__, errors.UndefinedTable):
                raise
        self.forget()
        return await work()

    async def to_search(self, collection: str, fingerprint: str, dimension: int) -> list[Space]:
        """Return the tables that a search reads: one, or two until all vectors are encrypted.

        The table of clear vectors comes first. Vectors move from it to the other table and never
        back, so that a search finds a vector that moves meanwhile.
        """
        name = collection, fingerprint, dimension
        moving = self._clear.get(name)
        if name not in self._clear and self.vault.current is not None:
            moving = await self._database.read(lambda c: self._filled_clear(c, *name))
        own = self._known.get(name)
        if own is None:
            # Another replica may have made it.
            own = await self._database.read(lambda c: self._find(c, *name))
        if own is not None:
            # With a master key all writes encrypt, so an empty clear table stays empty. Unknown
            # collections are not remembered.
            self._remember(name, own)
            self._clear[name] = moving
        return [space for space in (moving, own) if space is not None]

    async def of(self, collection: str, fingerprint: str, dimension: int) -> Space:
        """Return the table for new templates; create it if it is missing.

        Raises CollectionNotFound.
        """
        name = collection, fingerprint, dimension
        known = self._known.get(name)
        if known is None:
            known = await self._database.write(lambda c: self._make(c, *name))
            self._remember(name, known)
        return known

    async def within(
        self, connection: Connection, collection: str, fingerprint: str, dimension: int
    ) -> Space:
        """Return the table for new templates in a transaction, which may still be rolled back."""
        name = collection, fingerprint, dimension
        known = self._known.get(name) or await self._find(connection, *name)
        return known or await self._make(connection, *name)

    def _remember(self, name: _Name, space: Space) -> None:
        if name not in self._known and len(self._known) >= _REMEMBERED:
            self.forget()
        self._known[name] = space

    def forget(self) -> None:
        """Forget all tables, so that each is looked up again."""
        self._known.clear()
        self._clear.clear()
        self._turns.clear()

    async def _find(
        self, connection: Connection, collection: str, fingerprint: str, dimension: int
    ) -> Space | None:
        """Return the table of encrypted vectors if there is a master key, else of clear ones."""
        if self.vault.current is None:
            return await self.clear(connection, collection, fingerprint, dimension)
        found = await connection.execute(
            """SELECT space, key_id, master, wrapped FROM likeness.spaces
            JOIN likeness.data_keys USING (key_id)
            WHERE collection = %s AND fingerprint = %s AND vector_dimension = %s""",
            [collection, fingerprint, dimension],
            binary=True,
        )
        row = await found.fetchone()
        if row is None:
            return None
        number, key_id, master, blob = row
        name = collection, fingerprint, dimension
        return await self._turned(
            number, name, WrappedKey(key_id, master, blob, rotation_use(number))
        )

    async def _turned(self, number: int, name: _Name, wrapped: WrappedKey) -> Space:
        turn = self._turns.get(wrapped.key_id)
        if turn is None:
            if len(self._turns) >= _REMEMBERED:
                self._turns.clear()
            turn = await asyncio.to_thread(turn_of, self.vault.unwrap(wrapped), name[2] + 2)
            self._turns[wrapped.key_id] = turn
        return Space(number, *name, wrapped.key_id, turn)

    async def _make(
        self, connection: Connection, collection: str, fingerprint: str, dimension: int
    ) -> Space:
        if collection:
            await _hold(connection, collection)
        await connection.execute(LOCK)
        found = await self._find(connection, collection, fingerprint, dimension)
        if found is not None:
            return found
        space = await self.create(
            connection,
            (collection, fingerprint, dimension),
            sealed=self.vault.current is not None,
        )
        await self.index(connection, space)
        await self.add_row(connection, space)
        return space

    async def create(self, connection: Connection, name: _Name, *, sealed: bool) -> Space:
        """Create a table without an index that searches do not find yet.

        The caller must hold the lock.
        """
        found = await connection.execute(
            "SELECT nextval(pg_get_serial_sequence('likeness.spaces', 'space'))"
        )
        ((number,),) = await found.fetchall()
        space = Space(number, *name)
        if sealed:
            wrapped = self.vault.wrap(secrets.token_bytes(KEY_BYTES), rotation_use(number))
            await add_key(connection, wrapped)
            space = await self._turned(number, name, wrapped)
        await connection.execute(
            f"""CREATE TABLE {space.table} (
                number bigint PRIMARY KEY,
                vector halfvec({space.width}) NOT NULL
            ) WITH ({VACUUM_SOON})"""
        )
        return space

    async def index(self, connection: Connection, space: Space) -> None:
        """Create the index of a table, empty or not."""
        if space.width <= _INDEXED:
            await connection.execute(f"CREATE INDEX ON {space.table} {HNSW}")

    async def add_row(self, connection: Connection, space: Space) -> None:
        """Register a table, so that searches of its collection find it."""
        await connection.execute(
            """INSERT INTO likeness.spaces
            (space, collection, fingerprint, vector_dimension, key_id)
            OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s)""",
            [
                space.number,
                space.collection,
                space.fingerprint,
                space.dimension,
                space.key_id,
            ],
        )

    async def clear(
        self, connection: Connection, collection: str, fingerprint: str, dimension: int
    ) -> Space | None:
        """Return the table of clear vectors, None if there is none."""
        found = await connection.execute(
            """SELECT space FROM likeness.spaces WHERE collection = %s
            AND fingerprint = %s AND vector_dimension = %s AND key_id IS NULL""",
            [collection, fingerprint, dimension],
        )
        row = await found.fetchone()
        return None if row is None else Space(row[0], collection, fingerprint, dimension)

    async def _filled_clear(
        self, connection: Connection, collection: str, fingerprint: str, dimension: int
    ) -> Space | None:
        space = await self.clear(connection, collection, fingerprint, dimension)
        if space is None:
            return None
        found = await connection.execute(f"SELECT EXISTS (SELECT 1 FROM {space.table})")
        return space if await found.fetchone() == (True,) else None

    async def add(
        self, connection: Connection, space: Space, number: int, vector: NDArray[np.float32]
    ) -> None:
        """Insert a template into a search table; `vector` is (d,) float32."""
        cohort = self.cohorts.of(space.fingerprint, space.dimension)
        await insert(connection, space, number, cohort.index_rows(vector[None])[0])


async def insert(
    connection: Connection, space: Space, number: int, row: NDArray[np.float32]
) -> None:
    """Insert a row (d + 1,) into a table, rotated if the table is of encrypted vectors."""
    await connection.execute(
        f"INSERT INTO {space.table} VALUES (%(number)s, {space.parameter})",
        {"number": number, "vector": Vector(space.turned(row[None])[0])},
    )


async def _hold(connection: Connection, collection: str) -> None:
    """Lock a collection against deletion until the commit. Raises CollectionNotFound."""
    found = await connection.execute(
        "SELECT FROM likeness.collections WHERE collection = %s FOR KEY SHARE", [collection]
    )
    if not found.rowcount:
        raise CollectionNotFound


async def add_key(connection: Connection, key: WrappedKey) -> None:
    """Insert a key."""
    await connection.execute(
        "INSERT INTO likeness.data_keys (key_id, master, wrapped) VALUES (%s, %s, %s)",
        [key.key_id, key.master, key.blob],
    )


def vector_of(
    cipher: Cipher, blob: bytes, about: str, dimension: int | None = None
) -> NDArray[np.float32]:
    """Decrypt a blob with the associated data `about` to a (d,) float32 unit vector.

    Raises StoreDamaged, also for a wrong dimension.
    """
    try:
        vector = np.asarray(Vector.from_binary(cipher.open(blob, about)).to_numpy(), np.float32)
    except (ValueError, struct.error) as exc:
        raise StoreDamaged("It is not in the form of a vector.") from exc
    return checked(vector, dimension)
