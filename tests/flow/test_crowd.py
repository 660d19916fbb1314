"""A crowd of strangers, over real sockets, costs callers with a key next to nothing."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from tests.checkpoints import write_bundle
from tests.server import RunningServer, running_server

FILES, CROWD = 256, 300
# On a machine that does much else. Without bounds such a request was not answered in a minute.
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Guarded:
    """Hold a server with a key that may open few files, and where it logs."""

    server: RunningServer
    key: str
    log: Path

    def connection(self, stack: ExitStack) -> socket.socket:
        """Open a connection that has room for next to nothing unread."""
        address = httpx.URL(self.server.url)
        made = stack.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(30)
        made.connect((address.host, address.port))
        return made

    def ask(self, path: str) -> float:
        """Return how long a request with the key takes."""
        began = perf_counter()
        with self.server.client() as client:
            answer = client.get(path, headers={"x-api-key": self.key})
        assert answer.status_code == 200
        return perf_counter() - began


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    log = folder / "log"
    few = ("sh", "-c", f'ulimit -n {FILES}; exec "$@" 2>"$0"', str(log))
    settings = {"LIKENESS_BUNDLE": str(write_bundle(folder / "tiny"))}
    with running_server(folder / "likeness.db", settings, within=few) as server:
        with server.client() as client:
            made = client.post("/keys", json={"name": "ops", "scopes": ["admin"]}).json()
        yield Guarded(server, made["key"], log)


def lines(guarded: Guarded) -> int:
    return guarded.log.read_text().count("\n")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/metrics", "/ui/app.js", "/subjects"])
def test_answers_that_strangers_do_not_read_do_not_delay_callers_with_a_key(
    guarded: Guarded, path: str
) -> None:
    guarded.ask("/subjects")
    with ExitStack() as stack:
        for _ in range(CROWD):
            # There are more of them than files may be open: some are ended while they ask.
            with suppress(ConnectionError):
                asked = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
                guarded.connection(stack).sendall(asked.encode() * 4)
        assert max(guarded.ask("/subjects"), guarded.ask("/livez")) < SECONDS


def test_log_of_what_strangers_repeat_is_short(guarded: Guarded) -> None:
    before = lines(guarded)
    with ExitStack() as stack:
        for _ in range(CROWD):
            with suppress(ConnectionError):
                guarded.connection(stack).sendall(b"nonsense\r\n\r\n")
        guarded.ask("/livez")
    url = guarded.server.url
    with httpx.Client(base_url=url, headers={"x-api-key": "hunter2"}) as client:
        for _ in range(CROWD):
            assert client.get("/subjects").status_code == 401
    assert lines(guarded) - before < 100
    assert f"at most {FILES} open files" in guarded.log.read_text()
