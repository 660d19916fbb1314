"""The engine of one SQLite file, for one process."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from models.cohort import Cohort
from service.errors import StoreUnavailable
from service.store.cohorts import logged_placing
from service.store.records import Candidate, Damage
from service.store.sql.session import Statement, Statements, Work, run_now
from service.store.sqlite.entries import FLOAT32, all_entries, entries_of, vector_of
from service.store.sqlite.file import DatabaseFile
from service.store.sqlite.index import Entry, VectorIndex
from service.store.sqlite.log import Log
from service.store.sqlite.migrations import migrate
from service.store.sqlite.writer import (
    WAY_OUT,
    Writer,
    WriteResult,
    is_damaged,
    roll_back,
    unavailable,
)
from service.store.vault import Owner, Vault

T = TypeVar("T")

MEMORY: Final = ":memory:"

_READERS: Final = 2
_OF_TEMPLATE: Final = "template_id, image_sha256, fingerprint, quality, created_at, expires_at"


class Readers:
    """Answer queries in any thread, each on its own connection."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def add(self, connection: sqlite3.Connection) -> None:
        """Add a connection to the pool."""
        self._idle.put(connection)

    def ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in one transaction, so that it sees one state of the database."""
        connection = self._idle.get()
        try:
            connection.execute("BEGIN")
            return query(connection)
        except sqlite3.Error as exc:
            raise unavailable(exc) from exc
        finally:
            roll_back(connection)
            self._idle.put(connection)


def connect(name: str, busy_timeout_s: float) -> sqlite3.Connection:
    """Open a connection without automatic transactions, for use in one thread at a time.

    A deletion overwrites the row with zeros, and a commit is on the disk when it returns.
    """
    connection = sqlite3.connect(
        name, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
    )
    # Invalid text must not prevent other rows from being read.
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            # Otherwise data of a savepoint would be written to a temporary file.
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class SqliteSession:
    """Implement `Session` on a connection, without ever waiting; collect what the index gets."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault, statements: Statements):
        self.vault = vault
        self._connection = connection
        self._statements = statements
        self._removed: list[str] = []
        self._added: dict[tuple[str, str], Entry] = {}
        self._forgotten: str | None = None
        self._erases = False
        self._compacts = False

    def outcome(self, result: T) -> WriteResult[T]:
        """Return the result of the work of this session, with its changes of the index."""
        return WriteResult(
            result,
            self._removed,
            list(self._added.values()),
            self._forgotten,
            self._erases,
            self._compacts,
        )

    async def rows(self, statement: Statement, **parameters: object) -> Sequence[Any]:
        return self._execute(statement, parameters).fetchall()

    async def run(self, statement: Statement, **parameters: object) -> int:
        return self._execute(statement, parameters).rowcount

    async def run_each(
        self, statement: Statement, parameters: Sequence[Mapping[str, object]]
    ) -> None:
        for each in parameters:
            self._execute(statement, each)

    def _execute(self, statement: Statement, parameters: Mapping[str, object]) -> sqlite3.Cursor:
        text, constants = self._statements.of(statement)
        values = {name: _stored(value) for name, value in parameters.items()}
        try:
            return self._connection.execute(text, {**constants, **values})
        except sqlite3.DatabaseError as exc:
            if is_damaged(exc):
                raise unavailable(exc) from exc
            raise

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        removed, added = len(self._removed), self._added.copy()
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO part")
            del self._removed[removed:]
            self._added = added
            raise
        finally:
            self._connection.execute("RELEASE part")

    async def lock(self, name: str, seed: int) -> None:
        """Do nothing: there is one writer."""

    def encode(self, vector: NDArray[np.float32]) -> bytes:
        return vector.astype(FLOAT32).tobytes()

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
        self._add(
            Entry(template_id, owner.subject, fingerprint, vector, expires_at, owner.collection)
        )

    async def seal_in_index(self, owner: Owner, number: int, fingerprint: str, blob: bytes) -> None:
        """Do nothing: the index is in memory."""

    async def refresh_index(self, template_ids: Sequence[str]) -> None:
        for template_id in template_ids:
            for entry in entries_of(self._connection, self.vault, template_id):
                self._add(entry)

    def _add(self, entry: Entry) -> None:
        self._added[entry.template_id, entry.fingerprint] = entry

    def remove_from_index(self, template_ids: Sequence[str], *, erases: bool = True) -> None:
        self._removed += template_ids
        self._erases |= erases

    def forget_in_index(self, fingerprint: str) -> None:
        self._forgotten = fingerprint
        self._erases = True

    def erase(self, *, compacts: bool = False) -> None:
        self._erases = True
        self._compacts |= compacts

    async def collection_created(self, name: str) -> None:
        """Begin to count: the triggers only change counts."""
        self._connection.execute("INSERT INTO counts VALUES (0, 0, ?)", (name,))

    async def collection_deleted(self, name: str) -> None:
        """Do nothing: the index has no tables."""

    async def check(self) -> None:
        """Raise StoreUnavailable if all subjects' keys are missing; one missing key is damage."""
        lost = len(self._connection.execute("PRAGMA foreign_key_check(subjects)").fetchall())
        if not lost:
            return
        ((sealed,),) = self._connection.execute(
            "SELECT count(*) FROM subjects WHERE key_id IS NOT NULL"
        ).fetchall()
        if lost == sealed:
            raise StoreUnavailable(
                f"The database holds {lost:,} subjects without their keys. A backup without the "
                "table data_keys needs the newest copy of that table beside it."
            )

    async def space_uses(self, key_ids: Sequence[str]) -> Mapping[str, str]:
        """Return nothing: the index has no keys."""
        return {}

    async def move_rows(
        self,
        subject: str,
        to: str,
        metadata: bytes,
        terms: bytes,
        vectors: Mapping[int, bytes] | None,
    ) -> None:
        """Delete and insert the rows of a subject.

        SQLite may copy a growing row to another page, and the copy in the old page would escape a
        later deletion.
        """
        run = self._connection.execute
        # Photos first: a trigger deletes them with their last template.
        photos = run(
            "SELECT image_sha256, photo FROM photos WHERE subject = ? ORDER BY number", (subject,)
        ).fetchall()
        run("DELETE FROM photos WHERE subject = ?", (subject,))
        templates = run(
            f"SELECT number, vector, {_OF_TEMPLATE} FROM templates WHERE subject = ? "
            "ORDER BY number",
            (subject,),
        ).fetchall()
        run("DELETE FROM templates WHERE subject = ?", (subject,))
        run(
            "UPDATE subjects SET subject = ?, odd_name = 0, metadata = ?, terms = ? "
            "WHERE subject = ?",
            (to, metadata, terms, subject),
        )
        for number, vector, *columns in templates:
            run(
                f"INSERT INTO templates (subject, vector, {_OF_TEMPLATE}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (to, vector if vectors is None else vectors[number], *columns),
            )
        for image, photo in photos:
            run(
                "INSERT INTO photos (subject, image_sha256, photo) VALUES (?, ?, ?)",
                (to, image, photo),
            )


class SqliteEngine:
    """Implement `Engine` on a file, or in memory for the life of the object.

    One thread writes. A few threads read, each query on its own connection. The constructor
    blocks; it raises StoreInUse and StoreUnavailable.
    """

    batch = 500

    def __init__(self, name: str, vault: Vault, busy_timeout_s: float = 5.0) -> None:
        self.vault = vault
        self._busy_timeout_s = busy_timeout_s
        self._statements = Statements(SQLiteDialect_pysqlite(paramstyle="named"))
        self._index = VectorIndex()
        self._readers = Readers()
        self._closing: asyncio.Future[None] | None = None
        # A database in memory belongs to one connection: the writer also reads from it.
        self._is_memory = name == MEMORY
        with ExitStack() as stack:
            try:
                self._writer = self._open(name, stack)
            except sqlite3.Error as exc:
                problem = f"The database {name} cannot be opened: {exc}."
                raise StoreUnavailable(
                    f"{problem} {WAY_OUT}" if is_damaged(exc) else problem
                ) from exc
            self._threads = ThreadPoolExecutor(_READERS, "likeness-store-reader")
            stack.callback(self._threads.shutdown)
            self._parts = stack.pop_all()

    def _open(self, name: str, stack: ExitStack) -> Writer:
        file = None
        if not self._is_memory:
            file = DatabaseFile(Path(name))
            stack.callback(file.release)
            name = str(file.path)
        connection = connect(name, self._busy_timeout_s)
        stack.callback(connection.close)
        log = Log(connection, file)
        stack.callback(log.close)
        migrate(connection)
        for _ in range(0 if self._is_memory else _READERS):
            reader = connect(name, self._busy_timeout_s)
            stack.callback(reader.close)
            self._readers.add(reader)
        writer = Writer(connection, self._index, file, log)
        stack.callback(writer.close)
        return writer

    async def read(self, query: Work[T]) -> T:
        return await self._ask(lambda c: run_now(query(self._session(c))))

    async def write(
        self,
        work: Work[T],
        *,
        makes_room: bool = False,
        searched_in: Sequence[tuple[str, str, int]] = (),
    ) -> T:
        def job(connection: sqlite3.Connection) -> WriteResult[T]:
            session = self._session(connection)
            return session.outcome(run_now(work(session)))

        return await self._submit(job, makes_room=makes_room)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def load(self) -> list[Damage]:
        damaged: list[Damage] = []

        def fill(connection: sqlite3.Connection) -> None:
            self._index.apply((), all_entries(connection, self.vault, damaged))

        await self._ask(fill)
        # Another program may be reading the file; the next deletion erases too.
        with suppress(StoreUnavailable):
            await self._submit(lambda _: WriteResult(None, erases=True))
        return damaged

    async def compare_by(self, fingerprint: str, cohort: Cohort) -> None:
        def place() -> None:
            with logged_placing(self._index.count(fingerprint)):
                self._index.compare_by(fingerprint, cohort)

        await self._in_thread(place)

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str,
        exclude: str | None,
        clock: Callable[[], datetime],
    ) -> tuple[list[Candidate], list[Damage]]:
        most = limit if exclude is None else limit + 1
        found = await self._in_thread(
            lambda: self._index.search(vector, fingerprint, most, clock(), collection)
        )
        return [candidate for candidate in found if candidate.subject != exclude][:limit], []

    async def ping(self) -> None:
        await self._submit(_touch)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(asyncio.to_thread(self._parts.close))
        # Shielded, so that a cancelled caller does not leave the database half closed.
        await asyncio.shield(self._closing)

    def _session(self, connection: sqlite3.Connection) -> SqliteSession:
        return SqliteSession(connection, self.vault, self._statements)

    async def _ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_memory:
            return await self._submit(lambda c: WriteResult(query(c)))
        return await self._in_thread(partial(self._readers.ask, query))

    async def _submit(
        self, job: Callable[[sqlite3.Connection], WriteResult[T]], *, makes_room: bool = False
    ) -> T:
        self._refuse_if_closed()
        return await asyncio.wrap_future(self._writer.submit(job, makes_room=makes_room))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _refuse_if_closed(self) -> None:
        if self._closing is not None:
            raise StoreUnavailable("The store is closed.")


def _touch(connection: sqlite3.Connection) -> WriteResult[None]:
    """Write a value that does not change, to check that the disk has space."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {version}")
    return WriteResult(None)


def _stored(value: object) -> Any:
    """Return the stored form of a parameter: times sort as text, lists are JSON."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, list):
        return json.dumps([each.replace("%", "%25").replace("\0", "%00") for each in value])
    return value
