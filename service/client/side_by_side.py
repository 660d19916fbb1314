"""Work on many things, a few at a time, and hand out each result as soon as it is there.

Things are taken when there is room for them, so that a list without end costs no memory; whoever
is slow to take results has at most `at_once` of them waiting.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_tasks(
    things: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Coroutine[None, None, R]],
    at_once: int,
) -> AsyncGenerator[R]:
    """Yield results in the order of completion; what `work` raises ends everything."""
    if at_once < 1:
        raise ValueError("at_once is at least 1")
    source = aiter(things if isinstance(things, AsyncIterable) else _awaited(things))
    running: set[asyncio.Task[R]] = set()
    try:
        while True:
            for thing in await _take(source, at_once - len(running)):
                running.add(asyncio.create_task(work(thing)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _take(source: AsyncIterator[T], most: int) -> list[T]:
    taken: list[T] = []
    while len(taken) < most:
        try:
            taken.append(await anext(source))
        except StopAsyncIteration:
            break
    return taken


async def _awaited(things: Iterable[T]) -> AsyncGenerator[T]:
    for thing in things:
        yield thing


def in_threads(things: Iterable[T], work: Callable[[T], R], at_once: int) -> Generator[R]:
    """Yield results in the order of completion; what `work` raises ends everything."""
    source = iter(things)
    running: set[Future[R]] = set()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                for thing in islice(source, at_once - len(running)):
                    running.add(pool.submit(work, thing))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
