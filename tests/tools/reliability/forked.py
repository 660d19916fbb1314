"""Start the real server in half a second, as a fork of a process with all imports done.

Most of the start time is imports. `multiprocessing` keeps a process that only imports; each server
is a fork of it that runs `likeness serve`, and can be killed like any process.
"""

import multiprocessing
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

import httpx

from tests.tools.reliability.trouble import Trouble, serve_troubled

_IMPORTED = ["service.cli.app", "models.encoder.clip", "service.store.postgres.store"]


@dataclass(frozen=True, slots=True)
class ForkedServer:
    """Hold a running server."""

    process: ForkServerProcess
    url: str

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30)

    def kill(self) -> None:
        """Kill the server as a power failure would; a second call does nothing."""
        self.process.kill()
        self.process.join()


@dataclass(frozen=True, slots=True)
class Nursery:
    """Fork servers with common settings; the first server does the imports."""

    context: ForkServerContext
    settings: Mapping[str, str]

    @classmethod
    def open(cls, **settings: str) -> "Nursery":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        return cls(context, {}).set(**settings)

    def set(self, **settings: str) -> "Nursery":
        """Return a nursery with more `LIKENESS_*` variables, by the names of the settings."""
        named = {f"LIKENESS_{name.upper()}": value for name, value in settings.items()}
        return replace(self, settings={**self.settings, **named})

    @contextmanager
    def server(self, trouble: Trouble | None = None) -> Iterator[ForkedServer]:
        """Run `likeness serve` until the block ends; `trouble` can cause faults in it."""
        reader, writer = self.context.Pipe(duplex=False)
        process = self.context.Process(
            target=_serve, args=(writer, dict(self.settings), trouble), daemon=True
        )
        process.start()
        writer.close()
        with reader, os.fdopen(os.dup(reader.fileno())) as lines:
            server = ForkedServer(process, _url(lines))
            try:
                yield server
            finally:
                server.kill()


def _url(lines: Iterator[str]) -> str:
    said = []
    for line in lines:
        said.append(line.rstrip())
        if found := re.search(r"listening\s+(http://\S+)", line):
            return found[1]
    raise AssertionError(f"the server ended after: {said}")


def _serve(writer: Connection, settings: dict[str, str], trouble: Trouble | None) -> None:
    """Run the server with these settings as environment and the pipe as standard output."""
    for name in [name for name in os.environ if name.startswith("LIKENESS_")]:
        del os.environ[name]
    os.environ |= settings
    os.dup2(writer.fileno(), 1)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    if trouble is not None:
        serve_troubled(trouble)
        return
    from service.cli.app import app

    app(["serve", "--port", "0"])
