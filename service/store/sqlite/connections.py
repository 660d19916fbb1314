"""Open connections to a SQLite database, and lend those that read."""

import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from service.store.sqlite.writer import roll_back, unavailable

T = TypeVar("T")


class Readers:
    """Answer queries in any thread, each with a connection to itself."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def add(self, connection: sqlite3.Connection) -> None:
        """Have one more to lend."""
        self._idle.put(connection)

    def ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Answer all parts of a query from one state of the database."""
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
    """Open a connection that leaves transactions to its user, who is in one thread at a time.

    A deletion overwrites with zeros, and a commit is on the disk when it returns.
    """
    connection = sqlite3.connect(
        name, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
    )
    # What is no text must not keep the other rows from being read.
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            # Else what a savepoint may undo lies in a temporary file.
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
