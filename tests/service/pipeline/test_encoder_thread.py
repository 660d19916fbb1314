import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop

from service.errors import EncoderStalled, EncoderStopped
from service.pipeline.encoder_thread import EncoderThread
from tests.service.batching import PATIENCE_S

SOON_S = 0.02


@asynccontextmanager
async def running(
    embed: Callable[[Sequence[int]], Sequence[int]], watchdog_s: float = PATIENCE_S
) -> AsyncIterator[EncoderThread[int, int]]:
    thread = EncoderThread(embed, watchdog_s)
    yield thread
    thread.stop()


class Hanging:
    """Hang in the first pass until the test releases it."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.passes: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.passes.append(list(items))
        self.begun.set()
        assert self.free.wait(PATIENCE_S)
        return items


def end_thread(items: Sequence[int]) -> Sequence[int]:
    raise SystemExit


async def test_every_order_gets_its_own_answer() -> None:
    async with running(lambda items: [-item for item in items]) as thread:
        passes = await asyncio.gather(*(thread.order([n, n + 1]) for n in range(9)))
    assert [one.outcome for one in passes] == [[-n, -n - 1] for n in range(9)]


async def test_all_passes_run_on_one_thread_that_is_not_the_loops() -> None:
    threads: set[int] = set()

    def embed(items: Sequence[int]) -> Sequence[int]:
        threads.add(threading.get_ident())
        return items

    async with running(embed) as thread:
        await asyncio.gather(*(thread.order([n]) for n in range(9)))
    assert len(threads - {threading.get_ident()}) == len(threads) == 1


async def test_a_pass_that_raises_does_not_end_the_thread() -> None:
    async with running(lambda items: [1 // item for item in items]) as thread:
        failed = await thread.order([0])
        served = await thread.order([1])
    assert (type(failed.outcome), served.outcome) == (ZeroDivisionError, [1])


async def test_a_result_that_is_no_sequence_is_an_error_of_the_pass() -> None:
    embed = cast(Callable[[Sequence[int]], Sequence[int]], lambda items: None)
    async with running(embed) as thread:
        assert isinstance((await thread.order([1])).outcome, TypeError)


async def test_an_order_cancelled_before_its_turn_is_never_computed() -> None:
    hanging = Hanging()
    async with running(hanging) as thread:
        first, second, third = (thread.order([n]) for n in range(3))
        second.cancel()
        hanging.free.set()
        await asyncio.gather(first, third)
    assert hanging.passes == [[0], [2]]


async def test_a_pass_that_hangs_fails_all_that_was_asked_for() -> None:
    hanging = Hanging()
    async with running(hanging, watchdog_s=SOON_S) as thread:
        orders = [thread.order([n]) for n in range(2)]
        errors = await asyncio.gather(*orders, return_exceptions=True)
        hanging.free.set()
    assert [type(error) for error in errors] == [EncoderStalled] * 2


async def test_a_hanging_thread_is_not_alive_and_refuses_work() -> None:
    hanging = Hanging()
    async with running(hanging, watchdog_s=SOON_S) as thread:
        with pytest.raises(EncoderStalled):
            await thread.order([1])
        with pytest.raises(EncoderStalled):
            await thread.order([2])
        assert not thread.alive
        hanging.free.set()


async def test_each_pass_is_timed_from_its_own_start() -> None:
    # Together the passes take longer than the watchdog allows for one.
    def embed(items: Sequence[int]) -> Sequence[int]:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass
        return items

    async with running(embed, watchdog_s=0.5) as thread:
        passes = await asyncio.gather(*(thread.order([n]) for n in range(12)))
    assert [one.outcome for one in passes] == [[n] for n in range(12)]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_stalled_loop_is_not_taken_for_a_pass_that_hangs(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    # Event loops differ in the order of a timer and an answer that are both due.
    answered = threading.Event()

    def embed(items: Sequence[int]) -> Sequence[int]:
        answered.set()
        return items

    async def stall() -> None:
        async with running(embed, watchdog_s=SOON_S) as thread:
            order = thread.order([1])
            assert answered.wait(PATIENCE_S)  # blocks the loop, which cannot receive the answer
            until = time.monotonic() + 10 * SOON_S
            while time.monotonic() < until:
                pass
            assert (await order).outcome == [1]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stall())


async def test_when_the_thread_ends_all_that_was_asked_for_fails() -> None:
    async with running(end_thread) as thread:
        orders = [thread.order([n]) for n in range(3)]
        errors = await asyncio.gather(*orders, return_exceptions=True)
    assert [type(error) for error in errors] == [EncoderStopped] * 3


async def test_a_stopped_thread_is_not_alive_and_refuses_work() -> None:
    async with running(end_thread) as thread:
        for _ in range(2):
            with pytest.raises(EncoderStopped):
                await thread.order([1])
        assert not thread.alive


async def test_stopping_does_not_wait_for_a_pass_that_hangs() -> None:
    hanging = Hanging()
    async with running(hanging) as thread:
        order = thread.order([1])
    with pytest.raises(EncoderStopped):
        await order
    hanging.free.set()


def test_a_pass_that_outlives_its_loop_is_ignored() -> None:
    hanging = Hanging()

    async def leave() -> None:
        thread = EncoderThread(hanging, PATIENCE_S)
        order = thread.order([1])
        await asyncio.to_thread(hanging.begun.wait, PATIENCE_S)
        thread.stop()
        with pytest.raises(EncoderStopped):
            await order

    before = set(threading.enumerate())
    asyncio.run(leave())
    [left] = set(threading.enumerate()) - before
    hanging.free.set()
    left.join(PATIENCE_S)
    assert not left.is_alive()
