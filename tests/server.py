"""Run the real server as a process of its own, on a free port of the loopback."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Hold a server that listens; `lines` are what it printed until then."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def running_server(
    store: Path | str,
    settings: Mapping[str, str] = {},
    port: int = 0,
    within: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """Start `likeness serve` over an SQLite file or a URL, and wait until it listens.

    `within` is a command that runs another, which is then this one.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")
    }
    environment |= {
        "LIKENESS_STORE": store if isinstance(store, str) else f"sqlite:///{store}",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
        **settings,
    }
    with subprocess.Popen(
        [*within, sys.executable, "-m", "service.__main__", "serve", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield _when_listening(process)
        finally:
            if process.poll() is None:
                process.kill()


def _when_listening(process: subprocess.Popen[str]) -> RunningServer:
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if found := re.search(r"listening\s+(http://\S+)", line):
            return RunningServer(process, found[1], lines)
    raise AssertionError(f"the server ended with {process.wait()} after: {lines}")
