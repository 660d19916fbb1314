"""A database file that only this process uses and that other users cannot read."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.errors import StoreInUse, StoreUnavailable

_OWNER_ONLY = 0o600


# Space kept free so that deletions work on a full disk: for the write-ahead log and its checkpoint.
_LEAST_ROOM_BYTES: Final = 512 << 10
_MOST_ROOM_BYTES: Final = 16 << 20


class DatabaseFile:
    """Create a database file if there is none, and lock it until `release`.

    `was_erased` says that no remains of deleted data are in the file, because the last process
    closed it in order; set `is_erased` to tell this to the next process. Raises StoreInUse if
    another process holds the file, StoreUnavailable if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.log = self.path.with_name(f"{self.path.name}-wal")
        self.is_erased = False
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock, before = _lock(self.path)
        except OSError as exc:
            raise _unavailable(self.path, exc) from exc
        try:
            # Opened after the lock and kept open: to close any descriptor of a file would drop
            # SQLite's locks on it in the same process.
            self.descriptor, self.was_erased = _open(self.path, before)
        except OSError as exc:
            os.close(self._lock)
            raise _unavailable(self.path, exc) from exc
        self._identity = _identity(os.fstat(self.descriptor))
        # Emptied first, because opening the database takes space; `set_aside` fills it again.
        room = f"{self.path}.room"
        self._room = os.open(room, os.O_RDWR | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)

    def check(self) -> None:
        """Raise StoreUnavailable if the path no longer leads to the open file.

        Data in a file without a name is lost when the process ends.
        """
        try:
            found = _identity(os.stat(self.path))
        except OSError:
            found = None
        if found != self._identity:
            raise StoreUnavailable(
                "The database file was removed or replaced while in use. Put it back, or restart "
                "the service."
            )

    def bytes(self) -> int:
        """Return the size of the file."""
        return os.fstat(self.descriptor).st_size

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log."""
        return self.log.stat().st_size if self.log.exists() else 0

    def set_aside(self) -> None:
        """Reserve disk space for deletions on a full disk, or less if there is less."""
        size = min(max(2 * self.bytes(), _LEAST_ROOM_BYTES), _MOST_ROOM_BYTES)
        held = os.fstat(self._room).st_size
        with suppress(OSError):
            os.pwrite(self._room, bytes(max(size - held, 0)), held)

    def give_room(self) -> bool:
        """Free the reserved space; return False if there was none."""
        had = os.fstat(self._room).st_size > 0
        os.ftruncate(self._room, 0)
        return had

    def release(self) -> None:
        """Close the file and its lock, so that another process can open it."""
        os.close(self._room)
        if self.is_erased:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, _state(self.descriptor), 0)
        os.close(self.descriptor)
        os.close(self._lock)


def _lock(path: Path) -> tuple[int, bytes]:
    """Lock a file beside the database; return its descriptor and its earlier content."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = os.pread(descriptor, 100, 0)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as exc:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreInUse(
            f"The database {path} is in use by process {holder or 'unknown'}. Use the URL of the "
            "running server, or PostgreSQL for several processes "
            "(LIKENESS_STORE=postgresql://user:password@host/database)."
        ) from exc
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, before


def _open(path: Path, before: bytes) -> tuple[int, bool]:
    """Open the file; return its descriptor, and whether it is new or as it was closed."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        was_erased = is_new or before == _state(descriptor)
        found = os.fstat(descriptor)
        # A copied file may be readable by other users; -wal and -shm take its mode.
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, _OWNER_ONLY)
        if is_new:
            _sync_directory(path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, was_erased


def _state(descriptor: int) -> bytes:
    found = os.fstat(descriptor)
    return f"erased {found.st_size} {found.st_mtime_ns}\n".encode()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _unavailable(path: Path, exc: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"The database {path} cannot be opened: {exc.strerror or exc}.")
