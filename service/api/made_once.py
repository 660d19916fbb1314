"""Answers that cost something and are the same for everybody: made once, not once a request."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request, Response

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Hold what is sent as it is; `etag` says which version it is."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "Page":
        """Hold bytes under the digest of them."""
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:24]}"')

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Send it, unless the client says that it has this version."""
        # Asked for again each time, and sent only if it is new: those of two releases must not mix.
        headers = {**headers, "etag": self.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


class Shared(Generic[T]):
    """Make one answer for all who ask meanwhile: each gets one that was begun after it asked.

    They are begun `apart_s` seconds apart at least, so that asking more often costs no more.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], apart_s: float) -> None:
        self._make = make
        self._apart_s = apart_s
        self._next: asyncio.Task[T] | None = None
        self._earlier: asyncio.Task[T] | None = None
        self._not_before = 0.0

    async def get(self) -> T:
        """Return the answer; raises what making it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._made())
        # Whoever leaves does not take it from the others.
        return await asyncio.shield(self._next)

    async def _made(self) -> T:
        if self._earlier is not None:
            await asyncio.wait([self._earlier])
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before - loop.time())
        self._not_before = loop.time() + self._apart_s
        self._earlier, self._next = self._next, None
        return await self._make()
