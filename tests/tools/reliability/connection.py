"""Send bytes that may not be HTTP over kept connections, and read the answers."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass

from tests.tools.reliability.bent_requests import Wire

# The longest time for an answer on a busy machine.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a status and, for a problem, its code; `what` describes another answer."""

    status: int
    code: str


class Connection:
    """Keep one connection to a server, and open a new one when it is closed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, wire: Wire) -> list[Reply]:
        """Return the answers: one to a valid request, any number to other bytes.

        Raises ConnectionError if a valid request is not answered.
        """
        if wire.whole:
            # The server may have closed a kept connection just now, but not a new one.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return [await self._exchange(wire.data)]
            await self.close()
            try:
                return [await self._exchange(wire.data)]
            except asyncio.IncompleteReadError as exc:
                raise ConnectionError("a request in order was not answered") from exc
        await self.close()
        return await self._throw(wire.data)

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._open is not None:
            writer = self._open[1]
            self._open = None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._open is None:
            self._open = await asyncio.open_connection(*self._address)
        return self._open

    async def _exchange(self, data: bytes) -> Reply:
        reader, writer = await self._streams()
        async with asyncio.timeout(PATIENCE_S):
            writer.write(data)
            await writer.drain()
            reply, last = await _read(reader)
        if last:
            await self.close()
        return reply

    async def _throw(self, data: bytes) -> list[Reply]:
        """Send bytes that may not be a request, and read until the server closes the connection."""
        reader, writer = await self._streams()
        replies: list[Reply] = []
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE_S):
                writer.write(data)
                await writer.drain()
                writer.write_eof()
                while True:
                    replies.append((await _read(reader))[0])
        await self.close()
        return replies


async def _read(reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    """Read an answer, and tell whether it is the last one of its connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    lines = head.split("\r\n")[1:]
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    is_problem = headers.get("content-type", "") == "application/problem+json"
    code = json.loads(body)["code"] if is_problem else headers.get("content-type", "")
    return Reply(status, code), headers.get("connection") == "close"
