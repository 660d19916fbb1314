"""Generate HTTP load with a small client, since a general client costs 3 ms a request itself.

Closed loop: every connection sends its next request when it has its answer. Open loop: requests
arrive at given times, and the time of each counts from then, even if the service is late.
"""

import asyncio
import gc
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import nan
from time import perf_counter

TIMEOUT_S = 30.0
_MOST_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class Target:
    """Hold the URL, path and content type of requests."""

    url: str
    path: str
    content_type: str

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def head(self, length: int) -> bytes:
        """Return the head of a request with a body of `length` bytes."""
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: {self.url.removeprefix('http://')}\r\n"
            f"content-type: {self.content_type}\r\ncontent-length: {length}\r\n\r\n"
        ).encode()


@dataclass(frozen=True, slots=True)
class Body:
    """Hold a request's body; with `leaves` the client closes the connection at once.

    `harmful` marks a disturbance, which is not counted with the other requests.
    """

    data: bytes
    harmful: bool = False
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold the status of an answer, or 0 for no answer, and the seconds until then."""

    status: int
    seconds: float
    body: Body


@dataclass(frozen=True, slots=True)
class Load:
    """Hold all replies to a load, and its duration."""

    replies: Sequence[Reply]
    seconds: float

    @property
    def rate(self) -> float:
        """Return successful answers per second."""
        return len(self._times(200)) / self.seconds

    def ms(self, quantile: float, status: int = 200) -> float:
        """Return a quantile of the milliseconds to an answer of this status; NaN if none came."""
        times = sorted(self._times(status))
        if not times:
            return nan
        return 1000 * times[min(len(times) - 1, int(quantile * len(times)))]

    def count(self, status: int) -> int:
        """Return how many harmless requests got this status."""
        return len(self._times(status))

    @property
    def hung(self) -> int:
        """Return how many requests got no answer although the client waited."""
        return sum(reply.status == 0 and not reply.body.leaves for reply in self.replies)

    def _times(self, status: int) -> list[float]:
        return [
            reply.seconds
            for reply in self.replies
            if reply.status == status and not reply.body.harmful
        ]


async def closed_loop(target: Target, bodies: Iterable[Body], connections: int) -> Load:
    """Send every body once, over `connections` connections."""
    waiting = iter(bodies)
    replies: list[Reply] = []

    async def connection() -> None:
        caller = Caller(target)
        replies.extend([await caller.send(body, perf_counter()) for body in waiting])
        await caller.close()

    with _without_pauses():
        began = perf_counter()
        await asyncio.gather(*(connection() for _ in range(connections)))
        return Load(replies, perf_counter() - began)


async def open_loop(target: Target, bodies: Sequence[Body], rate: float, seed: int = 0) -> Load:
    """Send every body once, `rate` per second, with exponentially distributed gaps."""
    gaps = random.Random(seed)
    idle: list[Caller] = []
    tasks: list[asyncio.Task[Reply]] = []
    room = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def one(body: Body, due: float) -> Reply:
        async with room:
            caller = idle.pop() if idle else Caller(target)
            reply = await caller.send(body, due)
            idle.append(caller)
            return reply

    with _without_pauses():
        began = due = perf_counter()
        for body in bodies:
            due += gaps.expovariate(rate)
            await asyncio.sleep(max(0.0, due - perf_counter()))
            tasks.append(asyncio.create_task(one(body, due)))
        replies = await asyncio.gather(*tasks)
        for caller in idle:
            await caller.close()
        # The time ends with the last answer, because late answers lower the rate.
        return Load(replies, perf_counter() - began)


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Stop the garbage collector, which with torch loaded takes 100 ms a time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Caller:
    """Keep one connection, and open a new one when it was closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, body: Body, due: float) -> Reply:
        """Send a request and read its whole answer; the time counts from `due`."""
        status = 0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._exchange(body)
        except (OSError, EOFError, TimeoutError):
            await self.close()
        return Reply(status, perf_counter() - due, body)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(OSError):  # the server may have closed it first
                await writer.wait_closed()

    async def _exchange(self, body: Body) -> int:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()  # the server closes connections that are idle for long
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._target.address)
        reader, writer = self._streams
        writer.write(self._target.head(len(body.data)))
        writer.write(body.data)
        await writer.drain()
        if body.leaves:
            await self.close()
            return 0
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status, fields = int(head[9:12]), head.split(b"\r\n")
        length = next((f for f in fields if f.startswith(b"content-length:")), None)
        if length is None:
            while await _chunk(reader):
                continue
        else:
            await reader.readexactly(int(length.split(b":")[1]))
        if b"connection: close" in fields:
            await self.close()
        return status


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:size]
