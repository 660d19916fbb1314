"""The writer thread: it puts many requests into one transaction and answers after the commit."""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from models.errors import LikenessError
from service.errors import StoreDamaged, StoreUnavailable
from service.store.sqlite.file import DatabaseFile
from service.store.sqlite.index import Entry, VectorIndex
from service.store.sqlite.log import Log

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MAX_GROUP = 128

WAY_OUT = (
    "The database file is damaged; its undamaged pages are still served. Stop the service, keep a "
    "copy of the file, and restore a backup. Without a backup, "
    "`sqlite3 likeness.db .recover | sqlite3 saved.db` saves the readable part."
)


@dataclass(frozen=True, slots=True, eq=False)
class WriteResult(Generic[T_co]):
    """Hold the result of a piece of work, and its changes of the index.

    `forgotten` is a fingerprint whose templates were all deleted. If it `erases`, the caller gets
    the result only after the deleted bytes are gone from all files of the database; if it
    `compacts`, only after the file was rewritten.
    """

    result: T_co
    removed: Sequence[str] = ()
    added: Sequence[Entry] = ()
    forgotten: str | None = None
    erases: bool = False
    compacts: bool = False


Work = Callable[[sqlite3.Connection], WriteResult[T]]


@dataclass(frozen=True, slots=True, eq=False)
class _Job(Generic[T_co]):
    work: Callable[[sqlite3.Connection], WriteResult[T_co]]
    future: "Future[T_co]"
    makes_room: bool


_Outcome = WriteResult[object] | Exception


class Writer:
    """Own the connection that writes, and keep the index equal to the committed data."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        index: VectorIndex,
        file: DatabaseFile | None,
        log: Log,
    ) -> None:
        self._connection = connection
        self._index = index
        self._file = file
        self._log = log
        self._queue: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._stopped = False
        self._thread = Thread(target=self._run, name="likeness-store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T], *, makes_room: bool = False) -> "Future[T]":
        """Queue work; the future gets its result once it is durable, or an error.

        Work that raises changes nothing and does not affect other work. Work that `makes_room` may
        use the disk space that is reserved for deletions on a full disk.
        """
        future: Future[T] = Future()
        job: _Job[T] = _Job(work, future, makes_room)
        self._queue.put(job)
        # Checked after the put: either the thread takes the job, or it is failed here.
        if self._stopped:
            self._fail_queued()
        return future

    def close(self) -> None:
        """Finish the queued work and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        jobs: list[_Job[object]] = []
        try:
            is_open = True
            while is_open:
                waiting, is_open = self._take()
                jobs = [job for job in waiting if job.future.set_running_or_notify_cancel()]
                if jobs:
                    self._commit(jobs)
        finally:
            self._stopped = True
            _fail_all(
                [job for job in jobs if not job.future.done()],
                StoreUnavailable("The store is closed."),
            )
            self._fail_queued()

    def _take(self) -> tuple[list[_Job[object]], bool]:
        """Wait for one job, then take all waiting jobs; False if the writer was closed."""
        items = [self._queue.get()]
        with suppress(Empty):
            while items[-1] is not None and len(items) < _MAX_GROUP:
                items.append(self._queue.get_nowait())
        jobs = [item for item in items if item is not None]
        return jobs, len(jobs) == len(items)

    def _commit(self, jobs: Sequence[_Job[object]]) -> None:
        try:
            if self._file is not None:
                self._file.check()
            self._connection.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, StoreUnavailable) as exc:
            _fail_all(jobs, exc)
            return
        try:
            outcomes = [self._attempt(job) for job in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            roll_back(self._connection)
            if len(jobs) == 1 and not (jobs[0].makes_room and self._log.make_room()):
                self._log.set_aside()
                _fail_all(jobs, exc)
                return
        else:
            self._publish(jobs, outcomes)
            self._log.keep_small()
            return
        # Perhaps only one job is too large for the disk: give each its own transaction.
        for job in jobs:
            self._commit([job])

    def _attempt(self, job: _Job[object]) -> _Outcome:
        self._connection.execute("SAVEPOINT job")
        outcome: _Outcome
        try:
            outcome = job.work(self._connection)
        except (sqlite3.Error, LikenessError, ValueError) as exc:
            # SQLite has rolled back the whole transaction, or the disk is full.
            if not self._connection.in_transaction or _is_full(exc):
                raise
            self._connection.execute("ROLLBACK TO job")
            outcome = exc
        self._connection.execute("RELEASE job")
        return outcome

    def _publish(self, jobs: Sequence[_Job[object]], outcomes: Sequence[_Outcome]) -> None:
        """Change the index, then answer, so that a search after the answer agrees with it."""
        done = [outcome for outcome in outcomes if isinstance(outcome, WriteResult)]
        for each in done:
            self._index.apply(each.removed, each.added)
            if each.forgotten is not None:
                self._index.forget(each.forgotten)
        if any(each.compacts for each in done):
            with suppress(sqlite3.Error):  # no disk space; the next request tries again
                self._connection.execute("VACUUM")
        is_clean = not any(each.erases for each in done) or self._log.erase()
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _fail_all([job], outcome)
            elif outcome.erases and not is_clean:
                _fail_all([job], _not_erased())
            else:
                job.future.set_result(outcome.result)

    def _fail_queued(self) -> None:
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None and job.future.set_running_or_notify_cancel():
                    _fail_all([job], StoreUnavailable("The store is closed."))


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that may be open, without its changes."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _is_full(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.Error) and exc.sqlite_errorcode == sqlite3.SQLITE_FULL


def is_damaged(exc: sqlite3.Error) -> bool:
    """Tell whether SQLite reports a damaged page of the file."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def unavailable(exc: sqlite3.Error) -> StoreUnavailable | StoreDamaged:
    """Turn an error of SQLite into an error of the store."""
    error: StoreUnavailable | StoreDamaged
    if is_damaged(exc):
        error = StoreDamaged(f"The requested data is in a damaged page. {WAY_OUT}")
    else:
        error = StoreUnavailable(f"The database cannot be used now ({exc}). Try again later.")
    error.__cause__ = exc
    return error


def _fail_all(jobs: Sequence[_Job[object]], exc: Exception) -> None:
    for job in jobs:
        # A copy for each caller: a shared exception would collect the tracebacks of all.
        error = unavailable(exc) if isinstance(exc, sqlite3.Error) else copy(exc)
        job.future.set_exception(error)


def _not_erased() -> StoreUnavailable:
    return StoreUnavailable(
        "It is deleted and will not be found, but its bytes are still in the database's files, "
        "because another program is reading them or the disk is full. Close that program, or make "
        "space on the disk; the next deletion, or the end of the service, erases them."
    )
