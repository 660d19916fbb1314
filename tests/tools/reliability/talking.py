"""Send invalid requests to the real server: it must answer, go on, and not grow."""

import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Self

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.server import RunningServer, running_server
from tests.tools.bench.machine import resident_mb
from tests.tools.reliability.bent_requests import Wire, request_lists
from tests.tools.reliability.connection import Connection, Reply
from tests.tools.reliability.row import Row

AT_ONCE = 32
_LISTS = 50
GROWTH_MB = 64
# Expected refusals: too many requests at a time.
_MEANT = frozenset({"deadline_passed", "encoder_stalled", "out_of_memory"})
_SETTINGS = {
    "LIKENESS_BUNDLE": "builtin",
    "LIKENESS_WITHOUT_KEYS": "true",
    "LIKENESS_BODY_TIMEOUT_S": "2",
}


@dataclass(slots=True)
class Talk:
    """Send lists of requests over its own connections, and count the answers."""

    server: RunningServer
    statuses: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _connections: list[Connection] = field(default_factory=list)

    def __enter__(self) -> Self:
        host, _, port = self.server.url.removeprefix("http://").rpartition(":")
        self._connections = [Connection(host, int(port)) for _ in range(AT_ONCE)]
        return self

    def __exit__(self, *exc: object) -> None:
        for connection in self._connections:
            self._runner.run(connection.close())
        self._runner.close()

    def send(self, wires: list[Wire]) -> None:
        """Send each request over another connection, all at once.

        Raises AssertionError for an unexpected status of 500 or more, ConnectionError for a valid
        request without an answer, and TimeoutError for a late answer.
        """
        for reply in self._runner.run(self._gather(wires)):
            self.statuses[reply.status] += 1
            assert reply.status < 500 or reply.code in _MEANT, reply
        self.sent += len(wires)

    async def _gather(self, wires: list[Wire]) -> list[Reply]:
        pairs = zip(self._connections, wires, strict=True)
        return list(chain(*await asyncio.gather(*(to.send(wire) for to, wire in pairs))))


def talk_row(requests: int, first_seed: int, folder: Path) -> Row:
    """Send `count` requests, the same ones for the same seed; a failing list is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    lists = max(1, requests // AT_ONCE)
    with ExitStack() as stack:
        server = stack.enter_context(running_server(folder / "fuzz.db", _SETTINGS))
        talk = stack.enter_context(Talk(server))
        held_mb: list[float] = []
        for number, done in enumerate(range(0, lists, _LISTS)):
            failure = _shard(talk, first_seed + number, min(_LISTS, lists - done), folder)
            failures += [failure] if failure else []
            held_mb.append(resident_mb(server.process.pid))
        alive = server.process.poll() is None and _answers(server)
    # The first requests allocate memory that stays: the encoder's buffers, the decoders' arenas.
    growth_mb = held_mb[-1] - held_mb[len(held_mb) // 4]
    refused = sum(count for status, count in talk.statuses.items() if status >= 500)
    return Row(
        f"invalid requests to the server, {AT_ONCE} at a time",
        f"{talk.sent:,} requests",
        f"{len(failures)} unexpected 5xx or unanswered, {refused} times an expected 503 or 504; "
        f"{talk.statuses[200] + talk.statuses[201]:,} answered 2xx; memory grew by "
        f"{growth_mb:.0f} MB; the server {'answers' if alive else 'is gone'}",
        f"0; memory within {GROWTH_MB} MB",
        not failures and alive and growth_mb <= GROWTH_MB,
    )


def _answers(server: RunningServer) -> bool:
    with server.client() as client:
        return client.get("/livez").status_code == 200


def _shard(talk: Talk, number: int, lists: int, folder: Path) -> str:
    """Return a failure, whose requests are then in the folder, or an empty text."""
    latest: list[Wire] = []

    @seed(number)
    @settings(
        max_examples=lists,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(request_lists(AT_ONCE))
    def every_request_is_answered_or_refused(wires: list[Wire]) -> None:
        latest[:] = wires
        talk.send(wires)

    try:
        every_request_is_answered_or_refused()
    except (AssertionError, OSError, ValueError, ExceptionGroup) as exc:
        path = folder / f"requests-{number}.bin"
        path.write_bytes(b"\n--- next ---\n".join(wire.data for wire in latest))
        failure = f"seed {number}: one of {path} was answered with {exc!r}"
        print(failure, file=sys.stderr)
        return failure
    return ""
