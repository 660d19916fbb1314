"""Send mixed traffic of normal clients, and of clients that disturb."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from time import perf_counter

import httpx

from tests.hostile import corpus
from tests.tools.bench.bodies import MULTIPART, multipart
from tests.tools.bench.load import Target

# The number of subjects that each worker keeps at a time.
_KEPT = 5
_HOSTILE_BYTES = 200_000
_SLOW_BYTES, _SLOW_EVERY_S = 512, 0.2


@dataclass(slots=True)
class Tally:
    """Hold the seconds of good requests since the last call, and count errors."""

    seconds: list[float] = field(default_factory=list)
    served: int = 0
    failed: list[str] = field(default_factory=list)
    disturbances: int = 0

    def take_p99_ms(self) -> float:
        """Return the 99th percentile of the requests since the last call, in milliseconds."""
        times, self.seconds = sorted(self.seconds), []
        return 1000 * times[int(0.99 * len(times))]


class Worker:
    """Enrol, verify, identify, embed and delete, at a fixed rate."""

    def __init__(self, number: int, url: str, photos: Sequence[bytes], tally: Tally) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30)
        self._photos = cycle((*photos[number:], *photos[:number]))
        self._tally = tally
        self._names = (f"worker{number}-{at}" for at in count())
        self._dice = random.Random(number)

    async def run(self, rate: float) -> None:
        """Send requests until cancelled."""
        async with self._client:
            kept: list[str] = []
            while True:
                for method, path, fields in self._cycle(kept):
                    await self._ask(method, path, fields)
                    await asyncio.sleep(self._dice.expovariate(rate))

    def _cycle(self, kept: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield the requests that enrol one subject and delete another."""
        kept.append(next(self._names))
        yield "POST", "/enroll", {"subject": kept[-1]}
        for _ in range(3):
            yield "POST", "/verify", {"subject": self._dice.choice(kept)}
        yield "POST", "/identify", {}
        yield "POST", "/embed", {}
        if len(kept) > _KEPT:
            yield "DELETE", f"/subjects/{kept.pop(0)}", {}

    async def _ask(self, method: str, path: str, fields: dict[str, str]) -> None:
        began = perf_counter()
        try:
            if method == "DELETE":
                response = await self._client.delete(path)
            else:
                photo = {"image": next(self._photos)}
                response = await self._client.post(path, data=fields, files=photo)
        except httpx.TransportError as error:
            self._tally.failed.append(f"{path}: {error!r}")
            return
        if not response.is_success:
            self._tally.failed.append(f"{path}: {response.status_code} {response.text}")
            return
        self._tally.served += 1
        self._tally.seconds.append(perf_counter() - began)


class Vandal:
    """Disturb with broken images, cut connections, slow bodies, lost callers and large bodies."""

    def __init__(self, url: str, photo: bytes, tally: Tally) -> None:
        self._target = Target(url, "/embed", MULTIPART)
        self._form = multipart(photo)
        self._hostile = cycle([case.data for case in corpus() if len(case.data) <= _HOSTILE_BYTES])
        self._tally = tally
        self._dice = random.Random(99)

    async def run(self, rate: float) -> None:
        """Disturb until cancelled; a slow disturbance does not delay the next."""
        ways = cycle((self._broken, self._cut, self._slow, self._leave, self._too_large))
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way())
                self._tally.disturbances += 1
                await asyncio.sleep(self._dice.expovariate(rate))

    async def _broken(self) -> None:
        form = multipart(next(self._hostile))
        await self._send(len(form), [form], answered=True)

    async def _cut(self) -> None:
        await self._send(len(self._form), [self._form[: len(self._form) // 2]], answered=False)

    async def _slow(self) -> None:
        """Send a few hundred bytes at a time, and stop before the end."""
        pieces = [self._form[at : at + _SLOW_BYTES] for at in range(0, 8 * 1024, _SLOW_BYTES)]
        await self._send(len(self._form), pieces, answered=False, every_s=_SLOW_EVERY_S)

    async def _leave(self) -> None:
        await self._send(len(self._form), [self._form], answered=False)

    async def _too_large(self) -> None:
        await self._send(1 << 30, [self._form], answered=True)

    async def _send(
        self, length: int, pieces: Sequence[bytes], answered: bool, every_s: float = 0.0
    ) -> None:
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(*self._target.address)
            try:
                writer.write(self._target.head(length))
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(every_s)
                if answered:
                    status = int((await reader.readuntil(b"\r\n"))[9:12])
                    if not 400 <= status < 500:
                        self._tally.failed.append(f"a disturbance was answered with {status}")
            finally:
                writer.close()
                await writer.wait_closed()
