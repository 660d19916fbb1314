"""Let many connections without a key send requests and not read the answers.

Callers with a key must hardly notice them. Each connection requests more than fits into the
buffers, reads nothing, and connects again when it is closed. `python -m tests.tools.reliability
--only unread` runs this part alone.
"""

import asyncio
import select
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx

from service.edge.server import allow_many_files
from tests.checkpoints import write_bundle
from tests.server import RunningServer, running_server
from tests.tools.bench.machine import resident_mb
from tests.tools.reliability.row import Row

CROWD, SECONDS = 900, 20.0
FEW_FILES, FEW_CROWD = 64, 120
GUESSES = 60
# What a key is shown before it is right, and long enough to be one.
_WRONG_SECRET = "A" * 43
LONGEST_S, GROWTH_MB, LINES = 2.0, 256, 100
_PATHS = ("/openapi.json", "/docs", "/metrics", "/ui/app.js", "/readyz", "/subjects")
_EVERY_S = 0.1


@dataclass(slots=True)
class Answers:
    """Hold the seconds of answered requests, and the failures of the others."""

    took: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def ask(self, client: httpx.AsyncClient, path: str) -> None:
        began = perf_counter()
        try:
            status = (await client.get(path)).status_code
        except httpx.TransportError as error:
            self.failed.append(type(error).__name__)
            return
        self.took.append(perf_counter() - began)
        if status != 200:
            self.failed.append(str(status))

    def __str__(self) -> str:
        middle, longest = median(self.took), max(self.took)
        failed = f"; {len(self.failed)} failed: {set(self.failed)}" if self.failed else ""
        return f"median {1000 * middle:.0f} ms, longest {longest:.2f} s{failed}"

    @property
    def is_served(self) -> bool:
        return not self.failed and max(self.took) <= LONGEST_S


def rows(scale: float) -> list[Row]:
    """Request each document with 900 connections for 20 seconds at scale 1."""
    allow_many_files()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"LIKENESS_BUNDLE": str(write_bundle(folder / "bundle"))}
        return [
            *asyncio.run(_crowds(folder, settings, SECONDS * scale)),
            asyncio.run(_few_files(folder, settings)),
        ]


async def _crowds(folder: Path, settings: dict[str, str], seconds: float) -> list[Row]:
    quiet = {**settings, "LIKENESS_LOG_LEVEL": "error"}
    with running_server(folder / "crowds.db", quiet) as server:
        key = _key(server)
        made = [await _unread(server, key, path, seconds) for path in _PATHS]
        return [*made, await _guessed(server, key, seconds)]


async def _unread(server: RunningServer, key: str, path: str, seconds: float) -> Row:
    before_mb = resident_mb(server.process.pid)
    asked = Answers()
    async with _client(server, key) as client, _crowd(server.url, path, CROWD):
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            await asked.ask(client, "/subjects")
            await asyncio.sleep(_EVERY_S)
        grown_mb = resident_mb(server.process.pid) - before_mb
    return Row(
        f"{CROWD} connections without a key request {path} and do not read",
        f"{len(asked.took)} requests with a key",
        f"{asked}; memory grew by {grown_mb:.0f} MB",
        f"all answered, each within {LONGEST_S:g} s; memory within {GROWTH_MB} MB",
        asked.is_served and grown_mb <= GROWTH_MB,
    )


async def _guessed(server: RunningServer, key: str, seconds: float) -> Row:
    """Use new keys for the first time while other connections guess a key with a known id."""
    asked = Answers()
    others = [_key(server, key) for _ in range(round(seconds))]
    guess = f"lk_{key.split('_')[1]}_{_WRONG_SECRET}"
    guessing = [asyncio.create_task(_guess(server.url, guess)) for _ in range(GUESSES)]
    for other in others:
        async with _client(server, other) as client:
            await asked.ask(client, "/subjects")
    for task in guessing:
        task.cancel()
    await asyncio.gather(*guessing, return_exceptions=True)
    return Row(
        f"{GUESSES} connections guess a key with a known id",
        f"the first uses of {len(asked.took)} other keys",
        str(asked),
        f"all answered, each within {LONGEST_S:g} s",
        asked.is_served,
    )


async def _guess(url: str, key: str) -> None:
    """Send a wrong key again and again on one connection, until cancelled."""
    at = httpx.URL(url)
    reader, writer = await asyncio.open_connection(at.host, at.port)
    asked = f"GET /subjects HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n".encode()
    try:
        while True:
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
    finally:
        writer.close()


async def _few_files(folder: Path, settings: dict[str, str]) -> Row:
    log, asked = folder / "log", Answers()
    within = ("sh", "-c", f'ulimit -n {FEW_FILES}; exec "$@" 2>"$0"', str(log))
    with running_server(folder / "few.db", settings, within=within) as server:
        async with _client(server) as client, _crowd(server.url, "/openapi.json", FEW_CROWD):
            for _ in range(20):
                await asked.ask(client, "/livez")
    lines = log.read_text().count("\n")
    return Row(
        f"{FEW_CROWD} connections with a limit of {FEW_FILES} open files",
        f"{len(asked.took)} times /livez",
        f"{asked}; {lines} lines logged",
        f"all answered, each within {LONGEST_S:g} s; at most {LINES} lines",
        asked.is_served and lines <= LINES,
    )


def _key(server: RunningServer, admin: str | None = None) -> str:
    headers = {} if admin is None else {"x-api-key": admin}
    with server.client() as client:
        form = {"name": "ops", "scopes": ["admin"]}
        key: str = client.post("/keys", json=form, headers=headers).json()["key"]
    return key


@asynccontextmanager
async def _client(
    server: RunningServer, key: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    headers = {} if key is None else {"x-api-key": key}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, trust_env=False
    ) as client:
        yield client


@asynccontextmanager
async def _crowd(url: str, path: str, size: int) -> AsyncIterator[None]:
    """Keep `count` connections that sent a request and do not read the answer."""
    at = httpx.URL(url)
    asked = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() * 4
    strangers = [_Stranger((at.host, at.port or 80), asked) for _ in range(size)]

    async def come_back() -> None:
        while True:
            for stranger in strangers:
                stranger.come_back()
                await asyncio.sleep(0)
            await asyncio.sleep(_EVERY_S)

    coming = asyncio.create_task(come_back())
    try:
        yield
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        for stranger in strangers:
            stranger.close()


class _Stranger:
    """Send one request on a connection, and connect again when it is closed."""

    def __init__(self, address: tuple[str, int], asked: bytes) -> None:
        self._address = address
        self._asked = asked
        self._socket: socket.socket | None = None

    def come_back(self) -> None:
        if self._socket is not None and not self._is_ended(self._socket):
            return
        self.close()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            # On the loopback, that waits for nothing but a place in the queue.
            self._socket.connect(self._address)
            self._socket.sendall(self._asked)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @staticmethod
    def _is_ended(connection: socket.socket) -> bool:
        events = select.poll()
        events.register(connection, select.POLLHUP | select.POLLERR)
        return bool(events.poll(0))
