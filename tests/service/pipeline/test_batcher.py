"""Batches, fairness, cancellation and deadlines."""

import asyncio
from time import perf_counter

import pytest

from models.errors import LikenessError, OutOfMemory
from service.errors import (
    DeadlinePassed,
    QueueFull,
)
from service.observe.metrics import FailReason
from tests.service.batching import (
    Encoder,
    Recorder,
    batching,
    crop,
    occupy,
    outcomes,
    submitted,
)

SOON_S = 0.02


def no_memory(numbers: list[int]) -> list[int | LikenessError]:
    raise OutOfMemory("Nothing fits.")


# Batches


async def test_a_single_crop_runs_at_once() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        done = await batcher.submit(crop(7))
    assert (done.row, done.batch_size, encoder.batches) == (70, 1, [[7]])


async def test_crops_that_wait_for_the_encoder_share_a_batch() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2, 3, 4)
        encoder.let_go()
        await outcomes([first, *tasks])
    assert encoder.batches == [[0], [1, 2, 3, 4]]


async def test_batches_are_full_shapes_and_never_padded() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, *range(1, 16))
        encoder.let_go()
        await outcomes([first, *tasks])
    assert [len(batch) for batch in encoder.batches] == [1, 8, 4, 2, 1]


async def test_64_concurrent_crops_each_get_their_own_row() -> None:
    async with batching(Encoder()) as batcher:
        dones = await asyncio.gather(*(batcher.submit(crop(n)) for n in range(64)))
    assert [done.row for done in dones] == [10 * n for n in range(64)]


async def test_times_tell_waiting_from_computing() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        [second] = await submitted(batcher, 1)
        queued_at = perf_counter()
        await asyncio.sleep(0)
        held_s = perf_counter() - queued_at
        encoder.let_go()
        await outcomes([first, second])
    assert second.result().queue_s >= held_s > 0
    assert first.result().forward_s >= held_s


async def test_without_prefetch_a_batch_is_formed_when_the_encoder_is_free() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        await occupy(batcher, encoder)
        await submitted(batcher, 1, 2)
        await asyncio.sleep(0)
        assert recorder.depths[-1] == 2


async def test_with_prefetch_the_next_batch_is_handed_over_while_one_runs() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder, prefetch=1) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        await asyncio.sleep(0)
        assert recorder.depths[-1] == 0
        encoder.let_go()
        assert await outcomes([first, *tasks]) == [0, 10, 20]


async def test_a_lone_crop_never_waits_for_company() -> None:
    encoder = Encoder()
    async with batching(encoder, gather_ms=1e9) as batcher:
        assert (await batcher.submit(crop(1))).row == 10


async def test_a_full_batch_never_waits_for_company() -> None:
    async with batching(Encoder(), gather_ms=1e9, max_batch=4) as batcher:
        tasks = await submitted(batcher, 1, 2, 3, 4)
        assert await outcomes(tasks) == [10, 20, 30, 40]


async def test_gathering_ends_when_the_batch_is_full() -> None:
    encoder = Encoder()
    async with batching(encoder, gather_ms=1e9, max_batch=4) as batcher:
        tasks = await submitted(batcher, 1, 2) + await submitted(batcher, 3, 4)
        await outcomes(tasks)
    assert encoder.batches == [[1, 2, 3, 4]]


async def test_gathering_ends_after_its_time() -> None:
    encoder = Encoder()
    async with batching(encoder, gather_ms=1) as batcher:
        assert await outcomes(await submitted(batcher, 1, 2)) == [10, 20]


async def test_when_all_leave_while_they_gather_the_next_is_served() -> None:
    async with batching(Encoder(), gather_ms=1) as batcher:
        for task in await submitted(batcher, 1, 2):
            task.cancel()
        assert (await batcher.submit(crop(3))).row == 30


# Fairness


async def test_a_lone_request_is_not_held_up_by_one_with_64_crops() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        noisy = await submitted(batcher, *range(1, 65), caller="noisy")
        lone = await submitted(batcher, 99, caller="lone")
        encoder.let_go()
        await outcomes([first, *noisy, *lone])
    assert 99 in encoder.batches[1]


async def test_callers_share_a_batch_evenly() -> None:
    encoder = Encoder()
    async with batching(encoder, max_batch=4) as batcher:
        first = await occupy(batcher, encoder)
        one = await submitted(batcher, 1, 2, 3, 4, caller="one")
        two = await submitted(batcher, 5, 6, 7, 8, caller="two")
        encoder.let_go()
        await outcomes([first, *one, *two])
    assert encoder.batches[1:] == [[1, 5, 2, 6], [3, 7, 4, 8]]


# Cancelled callers, full queues, deadlines


async def test_a_caller_gone_while_queued_is_never_computed() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        tasks[0].cancel()
        encoder.let_go()
        await outcomes([first, *tasks])
    assert (encoder.batches, recorder.drops) == ([[0], [2]], {"cancelled": 1})


async def test_a_caller_gone_as_the_batch_is_formed_is_never_computed() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        tasks = await submitted(batcher, 1, 2)
        tasks[0].cancel()
        await outcomes(tasks)
    assert (encoder.batches, recorder.drops) == ([[2]], {"cancelled": 1})


async def test_a_caller_gone_before_their_pass_fails_affects_no_other() -> None:
    encoder = Encoder(no_memory)
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        first.cancel()
        [second] = await submitted(batcher, 1)
        encoder.let_go()
        assert await outcomes([first, second]) == [asyncio.CancelledError, OutOfMemory]


async def test_a_caller_gone_while_running_affects_no_other() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        first.cancel()
        encoder.let_go()
        assert await outcomes([first, *tasks]) == [asyncio.CancelledError, 10, 20]


async def test_a_caller_gone_as_the_error_arrives_leaves_nothing_overlooked() -> None:
    class Leaving(Recorder):
        def batch_failed(self, reason: FailReason) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)

    encoder = Encoder(no_memory)
    async with batching(encoder, observer=Leaving()) as batcher:
        task = await occupy(batcher, encoder)
        encoder.let_go()
        assert await outcomes([task]) == [asyncio.CancelledError]


async def test_a_full_queue_refuses_at_once() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder, max_queue=2) as batcher:
        await occupy(batcher, encoder)
        await submitted(batcher, 1, 2)
        with pytest.raises(QueueFull):
            batcher.submit(crop(3)).send(None)  # not a turn of the loop
    assert recorder.drops == {"queue_full": 1}


async def test_a_cancelled_caller_makes_room_in_a_full_queue() -> None:
    encoder = Encoder()
    async with batching(encoder, max_queue=1) as batcher:
        await occupy(batcher, encoder)
        [leaving] = await submitted(batcher, 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        tasks = await submitted(batcher, 2)
        encoder.let_go()
        assert await outcomes(tasks) == [20]


async def test_no_caller_waits_past_their_deadline_behind_a_slow_batch() -> None:
    encoder, recorder = Encoder(), Recorder()
    async with batching(encoder, observer=recorder) as batcher:
        await occupy(batcher, encoder)
        with pytest.raises(DeadlinePassed):  # while the encoder is still busy
            await batcher.submit(crop(1), deadline=asyncio.get_running_loop().time() + SOON_S)
    assert (encoder.batches, recorder.drops) == ([[0]], {"deadline": 1})


async def test_without_a_deadline_the_queue_timeout_is_one() -> None:
    encoder = Encoder()
    async with batching(encoder, queue_timeout_s=SOON_S) as batcher:
        await occupy(batcher, encoder)
        with pytest.raises(DeadlinePassed):
            await batcher.submit(crop(1))


async def test_a_deadline_that_passed_is_not_computed_by_a_free_encoder() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        with pytest.raises(DeadlinePassed):
            await batcher.submit(crop(1), deadline=asyncio.get_running_loop().time())
    assert encoder.batches == []


async def test_a_deadline_that_passed_while_the_loop_stalled_is_not_computed() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        loop = asyncio.get_running_loop()
        tasks = [
            asyncio.create_task(batcher.submit(crop(1), deadline=loop.time() + SOON_S)),
            asyncio.create_task(batcher.submit(crop(2))),
        ]
        loop.call_soon(stall_loop, loop)
        assert await outcomes(tasks) == [DeadlinePassed, 20]
    assert encoder.batches == [[2]]


def stall_loop(loop: asyncio.AbstractEventLoop) -> None:
    until = loop.time() + 2 * SOON_S
    while loop.time() < until:
        pass


async def test_a_deadline_does_not_end_a_running_pass() -> None:
    encoder = Encoder()
    async with batching(encoder, queue_timeout_s=10 * SOON_S) as batcher:
        first = await occupy(batcher, encoder)
        with pytest.raises(DeadlinePassed):
            await batcher.submit(
                crop(1)
            )  # this deadline was set later, so the first has passed too
        encoder.let_go()
        assert await outcomes([first]) == [0]
