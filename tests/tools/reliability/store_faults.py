"""Break a store: a full disk, a missing file, a missing database."""

import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tests.postgres import Cluster
from tests.tools.reliability.fault import Fault, delete, enrol, verify

_ALL = (enrol, delete, verify)
_FAILED = frozenset({"503 store_unavailable"})
_READ_ONLY = frozenset({"200", "503 store_unavailable"})


def sqlite_faults(path: Path, pid: int) -> list[Fault]:
    """Return the faults of a SQLite file in use."""
    return [
        Fault("its files cannot grow", partial(full_disk, path, pid), _ALL, _READ_ONLY),
        Fault("its file is moved away", partial(moved, path), _ALL, _READ_ONLY),
        Fault("its file is replaced", partial(replaced, path), _ALL, _READ_ONLY),
        Fault("another program locks it", partial(held, path), (enrol, verify), _READ_ONLY),
    ]


def full_disk_fault(folder: Path) -> Fault:
    """Return the faults of a database in a folder on its own disk."""
    return Fault("its disk is full", partial(filled, folder), _ALL, _READ_ONLY)


def postgres_faults(cluster: Cluster) -> list[Fault]:
    """Return the faults of a PostgreSQL server."""
    return [
        Fault("it is stopped", partial(stopped, cluster), _ALL, _FAILED),
        Fault("it is killed", partial(killed, cluster), _ALL, _FAILED),
        Fault("its first process is killed", partial(crashed, cluster), _ALL, _FAILED),
        Fault("it hangs", partial(frozen, cluster), _ALL, _FAILED),
        Fault("it is a standby", partial(standby, cluster), _ALL, _READ_ONLY),
    ]


@contextmanager
def full_disk(path: Path, pid: int = 0) -> Iterator[None]:
    """Stop all files of a process (0 for this one) from growing beyond the database's log."""
    size = Path(f"{path}-wal").stat().st_size
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill a small disk completely."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            file.write(bytes(shutil.disk_usage(folder).free))
        yield
    finally:
        filler.unlink()


@contextmanager
def moved(path: Path) -> Iterator[None]:
    aside = path.with_suffix(".aside")
    os.rename(path, aside)
    try:
        yield
    finally:
        os.replace(aside, path)


@contextmanager
def replaced(path: Path) -> Iterator[None]:
    """Replace the file with a copy."""
    with moved(path):
        shutil.copyfile(path.with_suffix(".aside"), path)
        yield


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Write to the database from another connection, and keep the transaction open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    cluster.stop()
    yield
    cluster.start()


@contextmanager
def killed(cluster: Cluster) -> Iterator[None]:
    cluster.kill()
    yield
    cluster.start()


@contextmanager
def crashed(cluster: Cluster) -> Iterator[None]:
    cluster.crash()
    yield
    cluster.start()


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """Stop all processes of the server."""
    pids = cluster.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def standby(cluster: Cluster) -> Iterator[None]:
    """Make the server a standby, which takes no writes, and then a primary again."""
    cluster.stop()
    (cluster.folder / "data" / "standby.signal").touch()
    cluster.start()
    yield
    cluster.run("SELECT pg_promote()")
