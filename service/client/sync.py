"""The client that waits for each answer, `Likeness`.

It runs the coroutines of `service.client.requests` over a connection that blocks the thread. Such
a coroutine never suspends, so it needs no event loop, and may run inside one.
"""

import sys
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from contextlib import closing
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack
from weakref import finalize

import httpx

from service.client.aio import DEFAULT_URL, TIMEOUT_S, key_headers
from service.client.folders import in_threads
from service.client.requests import RequestParts, Requests
from service.client.retry import Patience

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def run(coroutine: Coroutine[None, None, T]) -> T:
    """Run a coroutine that never suspends. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("The blocking client cannot wait for an event loop.")


def iterate(items: AsyncIterator[T]) -> Generator[T]:
    """Yield the items of an asynchronous iterator that never suspends."""

    async def next_item() -> T:
        return await anext(items)

    try:
        while True:
            # An event loop that runs in this thread would close the generator when it ends.
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(None, None)
            try:
                item = run(next_item())
            except StopAsyncIteration:
                return
            finally:
                sys.set_asyncgen_hooks(*hooks)
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            run(items.aclose())


@dataclass(frozen=True, slots=True)
class BlockingConnection:
    """Wait by blocking the thread."""

    http: httpx.Client
    block: Callable[[float], None]

    async def request(
        self, method: str, path: str, **parts: Unpack[RequestParts]
    ) -> httpx.Response:
        return self.http.request(method, path, **parts)

    async def sleep(self, wait_s: float) -> None:
        self.block(wait_s)

    async def read(self, function: Callable[[], T]) -> T:
        return function()

    async def results(
        self,
        items: Iterable[T] | AsyncIterable[T],
        work: Callable[[T], Coroutine[None, None, R]],
        at_once: int,
    ) -> AsyncGenerator[R]:
        source = iterate(aiter(items)) if isinstance(items, AsyncIterable) else items
        with closing(in_threads(source, lambda item: run(work(item)), at_once)) as results:
            for result in results:
                yield result

    async def close(self) -> None:
        self.http.close()


def _waits(
    method: Callable[Concatenate[Requests, P], Coroutine[None, None, T]],
) -> Callable[Concatenate["Likeness", P], T]:
    @wraps(method)
    def wait(self: "Likeness", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(self._requests, *args, **kwargs))

    return wait


def _iterates(
    method: Callable[Concatenate[Requests, P], AsyncGenerator[T]],
) -> Callable[Concatenate["Likeness", P], Generator[T]]:
    @wraps(method)
    def wait(self: "Likeness", /, *args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        return iterate(method(self._requests, *args, **kwargs))

    return wait


class Likeness:
    """Send requests to a service and wait for the answers; threads may share one client.

    Without a `key`, the variable LIKENESS_API_KEY is used. `timeout_s` limits how long a
    connection may be silent. `transport` and `sleep` replace httpx's connections and time.sleep.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        http = httpx.Client(
            base_url=base_url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )
        self._requests = Requests(BlockingConnection(http, sleep), patience)
        if transport is None:
            # A program that forgets to close leaves no open socket behind.
            finalize(self._requests, http.close)

    verify = _waits(Requests.verify)
    verify_pair = _waits(Requests.verify_pair)
    identify = _waits(Requests.identify)
    enroll = _waits(Requests.enroll)
    enroll_photo = _waits(Requests.enroll_photo)
    enroll_folder = _iterates(Requests.enroll_folder)
    enroll_many = _iterates(Requests.enroll_many)
    embed = _waits(Requests.embed)
    embed_rows = _waits(Requests.embed_rows)
    embed_photo = _waits(Requests.embed_photo)
    embed_many = _iterates(Requests.embed_many)
    subjects = _iterates(Requests.subjects)
    subject = _waits(Requests.subject)
    export = _waits(Requests.export)
    rename_subject = _waits(Requests.rename_subject)
    delete_subject = _waits(Requests.delete_subject)
    delete_template = _waits(Requests.delete_template)
    model = _waits(Requests.model)
    ready = _waits(Requests.ready)
    ask = _waits(Requests.ask)
    each = _iterates(Requests.each)
    close = _waits(Requests.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
