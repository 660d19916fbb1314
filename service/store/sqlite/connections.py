"""Connections to a SQLite database, and the pool of connections that read."""

import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from service.store.sqlite.writer import roll_back, unavailable

T = TypeVar("T")


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
