"""The engine of a PostgreSQL database, for any number of replicas."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from models.cohort import Cohort
from service.errors import StoreDamaged, StoreUnavailable, SubjectNotFound
from service.store.postgres import placing, search
from service.store.postgres import spaces as tables
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.spaces import Space, Spaces, vector_of
from service.store.records import Candidate, Damage
from service.store.sql.session import Statement, Statements, Work
from service.store.vault import ClearCipher, Owner, Vault, WrappedKey, rotation_use

T = TypeVar("T")

# SQLAlchemy does not annotate its constructor.
_DIALECT: Final[Callable[[], Dialect]] = PGDialect_psycopg
# One statement, because foreign keys are checked at its end.
_RENAME: Final = """WITH
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
# A bundle whose tables are dropped is placed again, by a cohort that is not recorded any more.
_DROP_SPACES: Final = """WITH gone AS (
        DELETE FROM likeness.spaces WHERE key_id = ANY(%s) RETURNING fingerprint
    ) DELETE FROM likeness.cohorts USING gone WHERE cohorts.fingerprint = gone.fingerprint"""


class PostgresSession:
    """Implement `Session` on a connection; triggers keep the search tables on deletions."""

    def __init__(
        self, connection: Connection, vault: Vault, statements: Statements, spaces: Spaces
    ) -> None:
        self.vault = vault
        self._connection = connection
        self._statements = statements
        self._spaces = spaces

    async def rows(self, statement: Statement, **parameters: object) -> Sequence[Any]:
        text, constants = self._statements.of(statement)
        found = await self._connection.execute(text, {**constants, **parameters}, binary=True)
        return await found.fetchall()

    async def run(self, statement: Statement, **parameters: object) -> int:
        text, constants = self._statements.of(statement)
        return (await self._connection.execute(text, {**constants, **parameters})).rowcount

    async def run_each(
        self, statement: Statement, parameters: Sequence[Mapping[str, object]]
    ) -> None:
        text, constants = self._statements.of(statement)
        await self._connection.cursor().executemany(
            text, [{**constants, **each} for each in parameters]
        )

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            yield

    async def lock(self, name: str, seed: int) -> None:
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, seed]
        )

    def encode(self, vector: NDArray[np.float32]) -> bytes:
        return Vector(vector).to_binary()

    vector_of = staticmethod(vector_of)

    async def add_to_index(
        self,
        owner: Owner,
        number: int,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        expires_at: datetime | None,
    ) -> None:
        space = await self._spaces.within(
            self._connection, owner.collection, fingerprint, len(vector)
        )
        await self._spaces.add(self._connection, space, number, vector)

    async def seal_in_index(self, owner: Owner, number: int, fingerprint: str, blob: bytes) -> None:
        try:
            vector = vector_of(ClearCipher(), blob, "")
        except StoreDamaged:
            return  # a damaged vector is not in a search table
        name = owner.collection, fingerprint, len(vector)
        clear = await self._spaces.clear(self._connection, *name)
        last = None if clear is None else await _take(self._connection, clear, number)
        space = await self._spaces.within(self._connection, *name)
        if last is None:  # right after the migration to version 9 there is no table
            await self._spaces.add(self._connection, space, number, vector)
        else:
            # With its old cohort mean; this process may not know the cohort.
            await tables.insert(self._connection, space, number, np.append(vector, last))

    async def refresh_index(self, template_ids: Sequence[str]) -> None:
        """Do nothing: the search tables hold neither names nor expiries."""

    def remove_from_index(self, template_ids: Sequence[str], *, erases: bool = True) -> None:
        """Do nothing: a trigger removes the rows."""

    def forget_in_index(self, fingerprint: str) -> None:
        """Do nothing: a trigger removes the rows."""

    def erase(self, *, compacts: bool = False) -> None:
        """Do nothing: the database reuses the space of deleted rows."""

    async def collection_created(self, name: str) -> None:
        """Do nothing: the triggers make the counts."""

    async def collection_deleted(self, name: str) -> None:
        """Drop the search tables of a collection."""
        await self._connection.execute("DELETE FROM likeness.spaces WHERE collection = %s", [name])

    async def check(self) -> None:
        """Drop search tables whose key is damaged or destroyed, to make them again.

        A restored backup brings back tables of deleted collections and of an earlier cohort.
        """
        found = await self._connection.execute(
            """SELECT key_id, master, wrapped, space
            FROM likeness.spaces JOIN likeness.data_keys USING (key_id)""",
            binary=True,
        )
        lost = [
            key_id
            for key_id, master, blob, space in await found.fetchall()
            if master is None
            or not self.vault.opens(WrappedKey(key_id, master, blob, rotation_use(space)))
        ]
        await self._connection.execute(_DROP_SPACES, [lost])

    async def space_uses(self, key_ids: Sequence[str]) -> Mapping[str, str]:
        found = await self._connection.execute(
            "SELECT key_id, space FROM likeness.spaces WHERE key_id = ANY(%s)", [list(key_ids)]
        )
        return {key_id: rotation_use(space) for key_id, space in await found.fetchall()}

    async def move_rows(
        self,
        subject: str,
        to: str,
        metadata: bytes,
        terms: bytes,
        vectors: Mapping[int, bytes] | None,
    ) -> None:
        renamed = await self._connection.execute(
            _RENAME, {"subject": subject, "to": to, "metadata": metadata, "terms": terms}
        )
        if not renamed.rowcount:
            raise SubjectNotFound
        if vectors:
            await self._connection.cursor().executemany(
                "UPDATE likeness.templates SET vector = %s WHERE number = %s",
                [(vector, number) for number, vector in vectors.items()],
            )


class PostgresEngine:
    """Implement `Engine`; nothing is cached that another replica could change."""

    batch = 1

    def __init__(self, database: Database, vault: Vault) -> None:
        self.vault = vault
        self._database = database
        self._spaces = Spaces(database, vault)
        self._statements = Statements(_DIALECT(), "likeness")

    async def read(self, query: Work[T]) -> T:
        return await self._database.read(lambda c: query(self._session(c)))

    async def write(
        self,
        work: Work[T],
        *,
        makes_room: bool = False,
        searched_in: Sequence[tuple[str, str, int]] = (),
    ) -> T:
        async def place_and_write() -> T:
            # A table is made in a transaction of its own, because others wait for it.
            for name in searched_in:
                await self._spaces.of(*name)
            return await self._database.write(lambda c: work(self._session(c)))

        return await self._database.finish(self._spaces.using(place_and_write))

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._database.finish(work)

    async def load(self) -> list[Damage]:
        return []

    async def compare_by(self, fingerprint: str, cohort: Cohort) -> None:
        async def place() -> None:
            self._spaces.cohorts.put(fingerprint, cohort)
            placed_by = await self._database.read(lambda c: placing.placed_by(c, fingerprint))
            if placed_by != cohort.digest:
                await self._database.write(
                    lambda c: placing.place(c, self._spaces, fingerprint, cohort), patience_s=None
                )
                self._spaces.forget()

        await self._database.finish(place())

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str,
        exclude: str | None,
        clock: Callable[[], datetime],
    ) -> tuple[list[Candidate], list[Damage]]:
        async def find_and_look() -> tuple[list[Candidate], list[Damage]]:
            spaces = await self._spaces.to_search(collection, fingerprint, len(vector))
            cohort = self._spaces.cohorts.of(fingerprint, len(vector))
            damaged: list[Damage] = []
            found = await search.search(
                self._database, spaces, self.vault, cohort, vector, limit, clock, exclude, damaged
            )
            return found, damaged

        return await self._spaces.using(find_and_look)

    async def ping(self) -> None:
        await self._database.read(_check_writable)

    async def close(self) -> None:
        await self._database.close()

    def _session(self, connection: Connection) -> PostgresSession:
        return PostgresSession(connection, self.vault, self._statements, self._spaces)


async def _check_writable(connection: Connection) -> None:
    found = await connection.execute("SHOW transaction_read_only")
    if await found.fetchone() != ("off",):
        raise StoreUnavailable("The database accepts no writes: it is a standby or read-only.")


async def _take(connection: Connection, space: Space, number: int) -> np.float32 | None:
    """Delete a row of clear vectors; return the number beside its vector, None if it is missing."""
    taken = await connection.execute(
        f"DELETE FROM {space.table} WHERE number = %s RETURNING vector", [number], binary=True
    )
    row = await taken.fetchone()
    if row is None:
        return None
    stored: HalfVector = row[0]
    return np.float32(stored.to_numpy()[-1])
