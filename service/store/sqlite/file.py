"""Hold a database file for this process alone, unreadable to other users."""

import fcntl
import os
from pathlib import Path

from service.errors import StoreInUse, StoreUnavailable

_OWNER_ONLY = 0o600


class DatabaseFile:
    """Create a database file if there is none, and lock it until `release`.

    Raises StoreInUse if a process holds it, StoreUnavailable if it cannot be had.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self.path)
        except OSError as exc:
            raise _unavailable(self.path, exc) from exc
        try:
            # Only with the lock: closing any descriptor of a file drops the locks that SQLite
            # has on it in the same process.
            self._identity = _create(self.path)
        except OSError as exc:
            self.release()
            raise _unavailable(self.path, exc) from exc

    def check(self) -> None:
        """Raise StoreUnavailable if the path no longer leads to the file that is open.

        What is written to a file without a name is gone when the process ends.
        """
        try:
            found = _identity(os.stat(self.path))
        except OSError:
            found = None
        if found != self._identity:
            raise StoreUnavailable(
                "The database file was removed or replaced while in use; put it back, or "
                "restart the service."
            )

    def release(self) -> None:
        """Let other processes have the file."""
        os.close(self._lock)


def _lock(path: Path) -> int:
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as exc:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreInUse(
            f"The database {path} is in use by process {holder or 'unknown'}. Several processes "
            "need PostgreSQL (LIKENESS_STORE=postgresql://user:password@host/database); or use "
            "the URL of the running server."
        ) from exc
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _create(path: Path) -> tuple[int, int]:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        found = os.fstat(descriptor)
        # A copied or restored file may be open to others; -wal and -shm take its mode.
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, _OWNER_ONLY)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_directory(path.parent)
    return _identity(found)


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
