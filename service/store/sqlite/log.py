"""The write-ahead log of a SQLite file: checkpoint it, and erase deleted data from log and file."""

import os
import sqlite3
from contextlib import suppress
from typing import Final

from service.store.sqlite.file import DatabaseFile
from service.store.sqlite.pages import overwrite_gaps

# SQLite lets it grow to a thousand pages; here it must stay smaller than the reserved space.
_SMALL_BYTES: Final = 256 << 10
_LARGE_BYTES: Final = 4 << 20
_HEAD_BYTES: Final = 32
_FRAME_HEAD_BYTES: Final = 24
# For more pages it is faster to look at all pages of the file.
_MOST_REMEMBERED: Final = 1 << 17


class Log:
    """Own the write-ahead log of a database: only this class checkpoints it.

    When SQLite moves a row, a copy stays in the old page (see `pages`). So this class remembers
    the pages that were in the log until their remains are overwritten. A file that was not closed
    in order is searched as a whole.
    """

    def __init__(self, connection: sqlite3.Connection, file: DatabaseFile | None) -> None:
        self._connection = connection
        self._file = file
        # None stands for all pages.
        self._pages: set[int] | None = set() if file is None or file.was_erased else None
        for setting in ("wal_autocheckpoint", "journal_size_limit"):
            connection.execute(f"PRAGMA {setting} = 0").fetchall()

    def keep_small(self) -> None:
        """Checkpoint the log if it is large."""
        if self._file is None:
            return
        most = min(max(self._file.bytes(), _SMALL_BYTES), _LARGE_BYTES)
        if self._file.log_bytes() >= most:
            self._checkpoint("PASSIVE")
            self.set_aside()

    def erase(self) -> bool:
        """Empty the log and overwrite deleted data; return False if that is impossible now."""
        if self._file is None:
            return True
        is_done = self._erase(self._file) or (self.make_room() and self._erase(self._file))
        self.set_aside()
        return is_done

    def set_aside(self) -> None:
        """Reserve disk space for deletions on a full disk, as much as possible."""
        if self._file is not None:
            self._file.set_aside()

    def make_room(self) -> bool:
        """Free the space that is reserved for deletions; return False if there was none."""
        if self._file is None or not self._file.give_room():
            return False
        self._checkpoint("TRUNCATE")
        return True

    def close(self) -> None:
        """Erase a last time, so that the next start need not search the whole file."""
        if self.erase() and self._file is not None:
            self._file.is_erased = True

    def _erase(self, file: DatabaseFile) -> bool:
        if not self._checkpoint("TRUNCATE"):
            return False
        try:
            # Now nothing else writes to the log, nor from the log to the file.
            self._connection.execute("BEGIN IMMEDIATE")
            if file.log_bytes():
                return False
            overwrite_gaps(file.descriptor, self._pages)
        except (sqlite3.Error, OSError):
            return False
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        # Pages in the connection's cache would bring back the overwritten data.
        self._connection.execute("PRAGMA shrink_memory").fetchall()
        self._pages = set()
        return True

    def _checkpoint(self, how: str) -> bool:
        if self._file is not None and self._pages is not None:
            self._pages |= _pages_in(self._file)
            if len(self._pages) > _MOST_REMEMBERED:
                self._pages = None
        with suppress(sqlite3.Error):
            ((busy, _, _),) = self._connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
            return not busy
        return False


def _pages_in(file: DatabaseFile) -> set[int]:
    """Return the numbers of the pages in the log.

    (https://www.sqlite.org/fileformat2.html, section 4.1)
    """
    if not file.log_bytes():
        return set()
    with file.log.open("rb", buffering=0) as log:
        page_bytes = int.from_bytes(os.pread(log.fileno(), _HEAD_BYTES, 0)[8:12], "big")
        frame_bytes = _FRAME_HEAD_BYTES + page_bytes
        frames = range(_HEAD_BYTES, file.log_bytes(), frame_bytes)
        return {int.from_bytes(os.pread(log.fileno(), 4, at), "big") for at in frames}
