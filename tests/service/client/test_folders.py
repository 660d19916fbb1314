"""Work on many items, some at a time."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from threading import Event

import pytest

from service.client.folders import in_tasks, in_threads


async def test_results_of_tasks_come_in_the_order_of_completion() -> None:
    second_is_done = asyncio.Event()

    async def work(thing: str) -> str:
        if thing == "first":
            await second_is_done.wait()
        return thing

    got: list[str] = []
    async with aclosing(in_tasks(["first", "second"], work, 2)) as done:
        async for thing in done:
            got.append(thing)
            second_is_done.set()
    assert got == ["second", "first"]


def test_results_of_threads_come_in_the_order_of_completion() -> None:
    second_is_done = Event()

    def work(thing: str) -> str:
        if thing == "first":
            second_is_done.wait()
        return thing

    got: list[str] = []
    for thing in in_threads(["first", "second"], work, 2):
        got.append(thing)
        second_is_done.set()
    assert got == ["second", "first"]


class Endless:
    """Count without end, and remember the last number."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self.taken


async def test_tasks_take_no_more_of_an_endless_list_than_they_can_run() -> None:
    async def work(thing: int) -> int:
        return thing

    things = Endless()
    async with aclosing(in_tasks(things, work, 3)) as done:
        await anext(done)
    assert things.taken == 3


def test_threads_take_no_more_of_an_endless_list_than_they_can_run() -> None:
    things = Endless()
    with closing(in_threads(things, lambda thing: thing, 3)) as done:
        next(done)
    assert things.taken == 3


async def test_a_caller_that_stops_early_leaves_no_task_behind() -> None:
    cancelled = asyncio.Event()

    async def work(thing: str) -> str:
        if thing == "slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
        return thing

    async with aclosing(in_tasks(["slow", "quick"], work, 2)) as done:
        assert await anext(done) == "quick"
    assert cancelled.is_set()


async def test_an_error_of_a_task_ends_all_others() -> None:
    async def work(_: int) -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await anext(in_tasks([1, 2], work, 2))


def test_an_error_of_a_thread_ends_all_others() -> None:
    def work(_: int) -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        next(in_threads([1, 2], work, 2))


@pytest.mark.parametrize("at_once", [0, -1])
async def test_zero_at_once_is_refused(at_once: int) -> None:
    async def work(thing: int) -> int:
        return thing

    with pytest.raises(ValueError, match="at_once"):
        await anext(in_tasks([1], work, at_once))
