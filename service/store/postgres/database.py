"""Connections to PostgreSQL: a pool that checks them, and retries queries where that is safe."""

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
# The longest waits for a connection, and for a query or transaction.
_WAIT_S = 2.0
_PATIENCE_S = 10.0
_ATTEMPTS = 8

# Errors caused by a transaction that committed first; a second attempt sees its changes.
_BEATEN = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,  # a subject was deleted while a template was added
)

_SETTINGS = """SELECT
    set_config('TimeZone', 'UTC', false),
    set_config('hnsw.ef_search', '80', false),
    set_config('hnsw.iterative_scan', 'relaxed_order', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)"""


class Database:
    """Run queries and transactions; all methods raise StoreUnavailable.

    A transaction is finished even if its caller was cancelled.
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
            # Its text may repeat the URL, which may hold a password.
            raise InvalidSettings(
                "The PostgreSQL URL is invalid. It must have the form "
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
                f"The database {described(url)} cannot be opened: {_reason(exc)}."
            ) from exc
        pool = AsyncConnectionPool(
            url,
            kwargs=parameters,
            min_size=1,
            max_size=CONNECTIONS,
            open=False,
            configure=_configure,
            timeout=_WAIT_S,
            # After repeated failures the pool would wait longer and longer.
            reconnect_timeout=_WAIT_S,
        )
        await pool.open()
        return cls(pool)

    async def read(self, query: Query[T]) -> T:
        """Run a query of one statement; it sees all data committed before it began."""
        return await self.finish(self._ask(query))

    async def write(self, work: Query[T], patience_s: float | None = _PATIENCE_S) -> T:
        """Run a transaction, durable when this returns, again if another was in its way.

        It may take `patience_s` seconds, or as long as it takes if that is None.
        """
        return await self.finish(self._commit(work, patience_s))

    async def close(self) -> None:
        """Finish all transactions, then disconnect; may be called again."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        while self._running:
            await asyncio.wait(self._running)
        await self._pool.close()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work of several reads and writes to its end, even if the caller is cancelled."""
        if asyncio.current_task() in self._running:
            return await work  # a part of such work
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
            task.exception()  # otherwise asyncio logs an error whose caller was cancelled

    async def _ask(self, query: Query[T]) -> T:
        """Run a query on any free connection, and if that was dead, on a checked connection.

        A query that only reads may run twice, which saves the round trip of a check.
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
                f"The requested data is in a damaged part of the database ({_reason(exc)}). Ask "
                "an administrator of PostgreSQL to repair it: an index with REINDEX, a table from "
                "a backup."
            ) from exc
        except (psycopg.Error, TimeoutError) as exc:
            raise StoreUnavailable(
                f"The database cannot be used now ({_reason(exc)}). Try again later."
            ) from exc

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[Connection]:
        """Lend a connection that has just answered, at the cost of a round trip.

        After a restart of the database all connections of the pool are dead, and each would fail
        a request. The pool's own check replaces one at a time, with growing delays.
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
    """Configure a new connection.

    Transactions are not serialisable: writers of one subject take turns by a lock (see
    `statements`), which costs less than to repeat their work.
    """
    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
    await connection.execute(_SETTINGS)
    await register_vector_async(connection)


def described(url: str) -> str:
    """Describe the database of a URL, without user and password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "with an invalid URL"
    # Text before an `@` is part of a password in which the `@` should have been `%40`.
    host = str(parts.get("host") or parts.get("hostaddr") or "localhost").rpartition("@")[2]
    name = parts.get("dbname") or "named after its user"
    return f"{name} at {host}, port {parts.get('port') or 5432}"


def _reason(exc: Exception) -> str:
    """Say what went wrong, without the names of hosts and users in the driver's text."""
    if isinstance(exc, PoolTimeout):
        return "no connection is free or can be made"
    if isinstance(exc, TimeoutError):
        return "it does not answer"
    if isinstance(exc, psycopg.Error) and exc.diag.message_primary is not None:
        return exc.diag.message_primary.rstrip(".")
    return "there is no connection to it"
