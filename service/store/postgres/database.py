"""Lend connections to PostgreSQL: pooled, checked, tried again where that is safe."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, IsolationLevel, errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from service.errors import InvalidSettings, StoreDamaged, StoreUnavailable
from service.store.postgres.migrations import Connection, migrate

T = TypeVar("T")
Query = Callable[[Connection], Awaitable[T]]

CONNECTIONS = 8
# Who waits longer for a connection hears that there is none; so long a request may take.
_WAIT_S = 2.0
_PATIENCE_S = 10.0
_ATTEMPTS = 8

# What another transaction was first to do; the same work, done again, sees it.
_BEATEN = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,  # a subject went as a template of it came
)

_SETTINGS = """SELECT
    set_config('TimeZone', 'UTC', false),
    set_config('hnsw.ef_search', '80', false),
    set_config('hnsw.iterative_scan', 'relaxed_order', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)"""


class Database:
    """Run queries and transactions; all of them raise StoreUnavailable.

    What was begun is finished, whether its caller still waits or not.
    """

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self._running: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connect, migrate and open the pool. Raises InvalidSettings, StoreUnavailable."""
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as exc:
            # Its text may repeat the URL, and with it a password.
            raise InvalidSettings(
                "The PostgreSQL URL cannot be read; it has the form "
                "postgresql://user:password@host:5432/database."
            ) from exc
        parameters: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": 5,
            "application_name": "likeness",
        }
        try:
            async with await AsyncConnection.connect(url, **parameters) as connection:
                await migrate(connection)
        except psycopg.Error as exc:
            raise StoreUnavailable(
                f"The database {named(url)} cannot be opened: {_said(exc)}."
            ) from exc
        pool = AsyncConnectionPool(
            url,
            kwargs=parameters,
            min_size=1,
            max_size=CONNECTIONS,
            open=False,
            configure=_configure,
            timeout=_WAIT_S,
            # A pool that goes on trying waits longer each time, and then too long.
            reconnect_timeout=_WAIT_S,
        )
        await pool.open()
        return cls(pool)

    async def read(self, query: Query[T]) -> T:
        """Answer one statement; each sees what was committed before it began."""
        return await self.finish(self._ask(query))

    async def write(self, work: Query[T], patience_s: float | None = _PATIENCE_S) -> T:
        """Run a transaction, durable when this returns, again if another was in its way.

        It may take `patience_s` seconds, or as long as it takes if that is None.
        """
        return await self.finish(self._commit(work, patience_s))

    async def close(self) -> None:
        """Finish what was begun, then disconnect; may be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        while self._running:
            await asyncio.wait(self._running)
        await self._pool.close()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """See work through, of several reads and writes perhaps, though the caller leave."""
        if asyncio.current_task() in self._running:
            return await work  # a part of what is seen through already
        if self._closing is not None:
            work.close()
            raise StoreUnavailable("The store is closed.")
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio logs what a caller who left did not hear

    async def _ask(self, query: Query[T]) -> T:
        """Ask whichever connection is free, and one that surely answers if that was a dead one.

        What only reads may be asked twice, and is spared the round trip that finds out before.
        """
        try:
            return await self._attempt(query, self._pool.connection)
        except StoreUnavailable as exc:
            cause = exc.__cause__
            if isinstance(cause, PoolTimeout) or not isinstance(cause, psycopg.OperationalError):
                raise
        return await self._attempt(query, self._answering)

    async def _commit(self, work: Query[T], patience_s: float | None) -> T:
        async def transaction(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._attempt(transaction, self._answering, patience_s)
            except StoreUnavailable as exc:
                if not isinstance(exc.__cause__, _BEATEN):
                    raise
        return await self._attempt(transaction, self._answering, patience_s)

    async def _attempt(
        self,
        query: Query[T],
        lend: Callable[[], AbstractAsyncContextManager[Connection]],
        patience_s: float | None = _PATIENCE_S,
    ) -> T:
        try:
            async with asyncio.timeout(patience_s), lend() as connection:
                return await query(connection)
        except (errors.DataCorrupted, errors.IndexCorrupted) as exc:
            raise StoreDamaged(
                f"What was asked for lies in a damaged part of the database ({_said(exc)}). An "
                "administrator of PostgreSQL has to look at it: REINDEX mends an index, for a "
                "table restore a backup."
            ) from exc
        except (psycopg.Error, TimeoutError) as exc:
            raise StoreUnavailable(
                f"The database cannot be used now ({_said(exc)}); try again later."
            ) from exc

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[Connection]:
        """Lend a connection that was alive a moment ago, at the cost of a round trip.

        A restart of the database leaves a pool of dead ones, each of which would fail a request.
        The pool's own check replaces one at a time and waits longer after each.
        """
        async with self._pool.connection() as connection:
            if await _answers(connection):
                yield connection
                return
        await self._pool.check()
        async with self._pool.connection() as connection:
            yield connection


async def _answers(connection: Connection) -> bool:
    try:
        await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


async def _configure(connection: Connection) -> None:
    """Make a new connection ours.

    Not serialisable: writers of one subject take turns by a lock (see `statements`), which
    costs them less than doing their work again.
    """
    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
    await connection.execute(_SETTINGS)
    await register_vector_async(connection)


def named(url: str) -> str:
    """Say which database a URL is of, without user and password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "whose URL cannot be read"
    # What is before an `@` is of a password in which that should have been written as `%40`.
    host = str(parts.get("host") or parts.get("hostaddr") or "localhost").rpartition("@")[2]
    name = parts.get("dbname") or "named after its user"
    return f"{name} at {host}, port {parts.get('port') or 5432}"


def _said(exc: Exception) -> str:
    """Say what went wrong, without the names of hosts and users that a driver's text has."""
    if isinstance(exc, PoolTimeout):
        return "no connection is free or can be made"
    if isinstance(exc, TimeoutError):
        return "it does not answer"
    if isinstance(exc, psycopg.Error) and exc.diag.message_primary is not None:
        return exc.diag.message_primary.rstrip(".")
    return "there is no connection to it"
