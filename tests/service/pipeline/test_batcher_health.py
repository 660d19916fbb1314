"""The batcher's health, and the errors of its callers when it stops or fails."""

import asyncio
import threading
from contextlib import suppress

import pytest

from models.errors import DeviceLost, LikenessError, OutOfMemory
from service.errors import (
    Draining,
    EncoderStalled,
    EncoderStopped,
)
from service.pipeline.batcher import Batcher
from tests.service.batching import (
    PATIENCE_S,
    Encoder,
    Recorder,
    batching,
    crop,
    occupy,
    outcomes,
    submitted,
    tenfold,
)

SOON_S = 0.02


def no_memory(numbers: list[int]) -> list[int | LikenessError]:
    raise OutOfMemory("Nothing fits.")


def lost(numbers: list[int]) -> list[int | LikenessError]:
    raise DeviceLost("Gone.")


def end_thread(numbers: list[int]) -> list[int | LikenessError]:
    raise SystemExit


async def test_it_is_not_ready_before_it_is_warm() -> None:
    async with batching(Encoder()) as batcher:
        before = batcher.ready
        await batcher.warm(crop(1))
        assert (before, batcher.ready) == (False, True)


async def test_three_crops_in_a_row_without_memory_make_it_not_ready() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        await batcher.warm(crop(1))
        encoder.rule = no_memory
        readiness = []
        for _ in range(3):
            with pytest.raises(OutOfMemory):
                await batcher.submit(crop(1))
            readiness.append(batcher.ready)
    assert readiness == [True, True, False]


async def test_one_crop_that_fits_makes_it_ready_again() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        await batcher.warm(crop(1))
        encoder.rule = no_memory
        for _ in range(3):
            with pytest.raises(OutOfMemory):
                await batcher.submit(crop(1))
        encoder.rule = tenfold
        await batcher.submit(crop(1))
        assert batcher.ready


async def test_without_callers_it_finds_out_by_itself_that_memory_is_back() -> None:
    encoder = Encoder()
    async with batching(encoder, retry_s=0) as batcher:
        await batcher.warm(crop(99))
        for _ in encoder.batches:
            await encoder.begun()
        encoder.rule = no_memory
        for _ in range(3):
            with pytest.raises(OutOfMemory):
                await batcher.submit(crop(1))
            await encoder.begun()
        await encoder.begun()  # the batcher's own attempt, which fails
        encoder.rule = tenfold
        while not batcher.ready:
            await encoder.begun()
            await batcher.submit(crop(1), caller="after the try")


async def test_without_memory_it_is_still_alive() -> None:
    async with batching(Encoder(no_memory)) as batcher:
        for _ in range(3):
            with pytest.raises(OutOfMemory):
                await batcher.submit(crop(1))
        assert batcher.alive


async def test_a_lost_device_fails_all_in_flight_and_queued() -> None:
    encoder, recorder = Encoder(lost), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        encoder.let_go()
        assert await outcomes([first, *tasks]) == [DeviceLost] * 3
    assert (encoder.batches, recorder.drops["device_lost"]) == ([[0]], 2)


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_a_lost_device_is_reported_once(prefetch: int) -> None:
    encoder, recorder, calls = Encoder(lost), Recorder(), list[str]()
    async with batching(
        encoder, observer=recorder, prefetch=prefetch, on_fatal=lambda: calls.append("fatal")
    ) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        encoder.let_go()
        await outcomes([first, *tasks])
    assert (calls, recorder.failures) == (["fatal"], {"device_lost": 1})


async def test_with_a_lost_device_it_is_not_alive_and_refuses_crops() -> None:
    async with batching(Encoder(lost)) as batcher:
        for _ in range(2):
            with pytest.raises(DeviceLost):
                await batcher.submit(crop(1))
        assert not batcher.alive


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_a_pass_that_hangs_fails_all_in_flight_and_queued(prefetch: int) -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(
        encoder, observer=recorder, watchdog_s=SOON_S, prefetch=prefetch, max_batch=2
    ) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2, 3, 4)
        assert await outcomes([first, *tasks]) == [EncoderStalled] * 5
    assert recorder.failures == {"stalled": 1}


async def test_while_a_pass_hangs_it_is_not_alive_and_refuses_crops() -> None:
    encoder = Encoder()
    async with batching(encoder, watchdog_s=SOON_S) as batcher:
        await outcomes([await occupy(batcher, encoder)])
        with pytest.raises(EncoderStalled):
            await batcher.submit(crop(1))
        assert not batcher.alive


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_when_a_pass_that_hung_returns_it_serves_again(prefetch: int) -> None:
    encoder = Encoder()
    async with batching(encoder, watchdog_s=SOON_S, prefetch=prefetch) as batcher:
        await outcomes([await occupy(batcher, encoder), *await submitted(batcher, 1, 2)])
        encoder.let_go()
        assert await row_at_last(batcher, 3) == 30


async def row_at_last(batcher: Batcher[int], number: int) -> int:
    while True:
        with suppress(EncoderStalled):
            return (await batcher.submit(crop(number))).row
        await asyncio.sleep(0)


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_when_the_thread_dies_all_in_flight_and_queued_fail(prefetch: int) -> None:
    encoder = Encoder(end_thread)
    async with batching(encoder, prefetch=prefetch, max_batch=2) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2, 3, 4)
        encoder.let_go()
        assert await outcomes([first, *tasks]) == [EncoderStopped] * 5


async def test_when_the_thread_has_died_it_is_not_alive_and_refuses_crops() -> None:
    async with batching(Encoder(end_thread)) as batcher:
        for _ in range(2):
            with pytest.raises(EncoderStopped):
                await batcher.submit(crop(1))
        assert not batcher.alive


async def test_when_its_own_loop_dies_all_in_flight_and_queued_fail() -> None:
    class Broken(Recorder):
        def batch(self, size: int, seconds: float) -> None:
            raise RuntimeError("This observer is broken.")

    encoder = Encoder()
    async with batching(encoder, observer=Broken()) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        encoder.let_go()
        assert await outcomes([first, *tasks]) == [EncoderStopped] * 3
        assert not batcher.alive


# The end


async def test_closing_refuses_new_crops() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        closing = asyncio.create_task(batcher.close(PATIENCE_S))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await batcher.submit(crop(1))
        encoder.let_go()
        await closing
        assert await outcomes([first]) == [0]


async def test_closing_serves_waiting_crops() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2, 3)
        closing = asyncio.create_task(batcher.close(PATIENCE_S))
        encoder.let_go()
        await closing
        assert await outcomes([first, *tasks]) == [0, 10, 20, 30]


async def test_closing_fails_crops_that_cannot_be_served_in_time() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        await batcher.close(SOON_S)  # the pass hangs, and closing does not
        assert await outcomes([first, *tasks]) == [Draining] * 3
    assert recorder.drops == {"shutdown": 2}


async def test_closing_ends_the_encoders_thread() -> None:
    before = set(threading.enumerate())
    batcher: Batcher[int] = Batcher(Encoder())
    [thread] = set(threading.enumerate()) - before
    await batcher.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


async def test_closing_twice_is_closing_once() -> None:
    async with batching(Encoder()) as batcher:
        await asyncio.gather(batcher.close(), batcher.close())
        await batcher.close()
        assert not batcher.ready


async def test_a_pass_that_returns_while_closing_does_not_open_again() -> None:
    encoder = Encoder()
    async with batching(encoder, watchdog_s=SOON_S) as batcher:
        await outcomes([await occupy(batcher, encoder)])
        await batcher.close(PATIENCE_S)
        encoder.let_go()
        with pytest.raises(Draining):
            await batcher.submit(crop(1))


async def test_a_batcher_works_without_an_observer() -> None:
    batcher: Batcher[int] = Batcher(Encoder())
    assert (await batcher.submit(crop(1))).row == 10
    await batcher.close()


async def test_an_observer_learns_of_batches() -> None:
    recorder = Recorder()
    async with batching(Encoder(), observer=recorder) as batcher:
        await batcher.submit(crop(1))
    assert (recorder.sizes, recorder.limits[0], max(recorder.depths)) == ([1], 8, 1)
