"""Read bodies of callers whose proof is in the body: an allowance apart from everybody else's."""

import asyncio
from collections import Counter
from collections.abc import Callable

from starlette.types import Receive

from service.errors import ClientGone, TooManyRequests


class _Arriving:
    """Hold what has come of one body, and who its sender claims to be."""

    def __init__(self, claimed: str, patience: asyncio.Timeout) -> None:
        self.claimed = claimed
        self.chunks: list[bytes] = []
        self.size = 0
        self._patience = patience

    def end(self) -> None:
        """Have its reader raise TimeoutError."""
        self._patience.reschedule(0)


class Unverified:
    """Bound how many such bodies are read at a time, and how many bytes they hold together.

    Where there is one too many, the oldest of the claim with most of them is ended: callers in
    good faith are done soon, those who keep a place make way, and a claim that is abused costs
    no other. Owned by the event loop.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        # The oldest first: an ordered set.
        self._arriving: dict[_Arriving, None] = {}

    async def read(self, claimed: str, receive: Receive) -> bytes:
        """Read a body to its end. Raises TooManyRequests, ClientGone, and what `receive` raises."""
        try:
            async with asyncio.timeout(None) as patience:
                body = _Arriving(claimed, patience)
                self._arriving[body] = None
                try:
                    return await self._read(body, receive)
                finally:
                    self._forget(body)
        except TimeoutError as exc:
            raise TooManyRequests("Too many requests wait for their signature's check.") from exc

    async def _read(self, body: _Arriving, receive: Receive) -> bytes:
        self._make_room()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone("The client went away while sending its request.")
            chunk = message.get("body", b"")
            body.chunks.append(chunk)
            body.size += len(chunk)
            self._bytes += len(chunk)
            self._make_room()
            more = message.get("more_body", False)
        return b"".join(body.chunks)

    def _make_room(self) -> None:
        while len(self._arriving) > self._most:
            self._end_one(lambda _: 1)
        while self._bytes > self._most_bytes:
            self._end_one(lambda body: body.size)

    def _end_one(self, weight: Callable[[_Arriving], int]) -> None:
        held: Counter[str] = Counter()
        for body in self._arriving:
            held[body.claimed] += weight(body)
        ((claimed, _),) = held.most_common(1)
        oldest = next(body for body in self._arriving if body.claimed == claimed)
        self._forget(oldest)
        oldest.end()

    def _forget(self, body: _Arriving) -> None:
        if body in self._arriving:
            del self._arriving[body]
            self._bytes -= body.size
