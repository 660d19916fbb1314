"""The asyncio client, `AsyncLikeness`."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Self, TypeVar, Unpack

import httpx

from service.client.folders import in_tasks
from service.client.requests import RequestParts, Requests
from service.client.retry import Patience

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0


def key_headers(key: str | None) -> dict[str, str]:
    """Return the headers that show a key; without one, that of LIKENESS_API_KEY."""
    key = os.environ.get("LIKENESS_API_KEY") if key is None else key
    return {"authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True, slots=True)
class AsyncConnection:
    """Wait by the event loop; files are read in threads."""

    http: httpx.AsyncClient
    sleep: Callable[[float], Awaitable[None]]

    async def request(
        self, method: str, path: str, **parts: Unpack[RequestParts]
    ) -> httpx.Response:
        return await self.http.request(method, path, **parts)

    async def read(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)

    def results(
        self,
        items: Iterable[T] | AsyncIterable[T],
        work: Callable[[T], Coroutine[None, None, R]],
        at_once: int,
    ) -> AsyncGenerator[R]:
        return in_tasks(items, work, at_once)

    async def close(self) -> None:
        await self.http.aclose()


class AsyncLikeness(Requests):
    """Send requests to a service and await the answers; has the same methods as `Likeness`."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        http = httpx.AsyncClient(
            base_url=base_url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )
        super().__init__(AsyncConnection(http, sleep), patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
