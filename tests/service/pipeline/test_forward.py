"""A failed batch fails as few of its crops as possible."""

import asyncio
import weakref

import pytest

from models.errors import (
    DegenerateVector,
    LikenessError,
    OutOfMemory,
    UndecodableImage,
    WrongRowCount,
)
from service.errors import EncoderFailed
from service.pipeline.forward import BatchLimit
from tests.service.batching import (
    Encoder,
    Recorder,
    Rule,
    Task,
    batching,
    crop,
    occupy,
    outcomes,
    submitted,
    tenfold,
)

POISON = 13


def poisoned(numbers: list[int]) -> list[int | LikenessError]:
    if POISON in numbers:
        raise ValueError("/secret/path: bad crop")
    return tenfold(numbers)


def room_for(most: int) -> Rule:
    def rule(numbers: list[int]) -> list[int | LikenessError]:
        if len(numbers) > most:
            raise OutOfMemory(f"A batch of {len(numbers)} does not fit the device.")
        return tenfold(numbers)

    return rule


async def served(
    encoder: Encoder, *numbers: int, observer: Recorder | None = None, max_batch: int = 8
) -> list[int | type[BaseException]]:
    """Serve crops that wait together while the encoder is busy."""
    async with batching(encoder, observer=observer, max_batch=max_batch) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, *numbers)
        encoder.let_go()
        await first
        return await outcomes(tasks)


async def test_a_bad_crop_fails_only_its_caller() -> None:
    results = await served(Encoder(poisoned), 1, 2, 3, 4, 5, POISON, 7, 8)
    assert results == [10, 20, 30, 40, 50, EncoderFailed, 70, 80]


async def test_two_bad_crops_fail_only_their_callers() -> None:
    results = await served(Encoder(poisoned), POISON, 2, 3, POISON)
    assert results == [EncoderFailed, 20, 30, EncoderFailed]


async def test_bad_crops_are_found_by_halving() -> None:
    encoder = Encoder(poisoned)
    await served(encoder, 1, 2, 3, 4, 5, POISON, 7, 8)
    assert encoder.batches[1:] == [
        [1, 2, 3, 4, 5, POISON, 7, 8],
        [1, 2, 3, 4],
        [5, POISON, 7, 8],
        [5, POISON],
        [5],
        [POISON],
        [7, 8],
    ]


async def test_an_encoder_failure_tells_the_caller_no_internals() -> None:
    async with batching(Encoder(poisoned)) as batcher:
        with pytest.raises(EncoderFailed) as caught:
            await batcher.submit(crop(POISON))
    assert "secret" not in caught.value.sentence


async def test_an_encoder_failure_remembers_its_cause() -> None:
    async with batching(Encoder(poisoned)) as batcher:
        with pytest.raises(EncoderFailed) as caught:
            await batcher.submit(crop(POISON))
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_typed_error_of_one_crop_reaches_its_caller_as_it_is() -> None:
    error = UndecodableImage("This one.")

    def rule(numbers: list[int]) -> list[int | LikenessError]:
        if POISON in numbers:
            raise error
        return tenfold(numbers)

    async with batching(Encoder(rule)) as batcher:
        with pytest.raises(UndecodableImage) as caught:
            await batcher.submit(crop(POISON))
    assert caught.value is error


async def test_a_raised_pass_is_counted() -> None:
    recorder = Recorder()
    await served(Encoder(poisoned), 1, POISON, observer=recorder)
    assert recorder.failures == {"raised": 2}


async def test_an_error_in_a_row_fails_only_its_caller() -> None:
    def rule(numbers: list[int]) -> list[int | LikenessError]:
        nan = DegenerateVector("NaN")
        return [nan if number == POISON else 10 * number for number in numbers]

    assert await served(Encoder(rule), 1, POISON, 3, 4) == [10, DegenerateVector, 30, 40]


@pytest.mark.parametrize("extra", [-1, 1])
async def test_a_wrong_number_of_rows_fails_the_whole_batch(extra: int) -> None:
    def rule(numbers: list[int]) -> list[int | LikenessError]:
        if len(numbers) == 1:
            return tenfold(numbers)
        return tenfold([*numbers, 0])[: len(numbers) + extra]

    recorder = Recorder()
    results = await served(Encoder(rule), 1, 2, 3, 4, observer=recorder)
    assert (results, recorder.failures) == ([WrongRowCount] * 4, {"wrong_rows": 1})


async def test_a_batch_after_wrong_rows_is_served() -> None:
    encoder = Encoder(lambda numbers: [])
    async with batching(encoder) as batcher:
        with pytest.raises(WrongRowCount):
            await batcher.submit(crop(1))
        encoder.rule = tenfold
        assert (await batcher.submit(crop(1))).row == 10


async def test_when_memory_runs_out_all_are_served() -> None:
    results = await served(Encoder(room_for(2)), *range(1, 9))
    assert results == [10 * number for number in range(1, 9)]


async def test_when_memory_runs_out_the_limit_falls_to_what_fits() -> None:
    recorder = Recorder()
    await served(Encoder(room_for(2)), *range(1, 9), observer=recorder)
    assert recorder.limits[-1] == 2


async def test_after_memory_ran_out_no_batch_is_tried_that_did_not_fit() -> None:
    encoder = Encoder(room_for(2))
    await served(encoder, *range(1, 17))
    assert [len(batch) for batch in encoder.batches] == [1, 8, 4, *[2] * 8]


async def test_the_limit_recovers_when_there_is_memory_again() -> None:
    encoder = Encoder(room_for(1))
    async with batching(encoder, max_batch=2) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2)
        encoder.let_go()
        await outcomes([first, *tasks])
        encoder.rule = tenfold
        for number in range(64):
            await batcher.submit(crop(number))
        assert batcher.limit == 2


async def test_a_failed_pass_pins_no_memory_while_it_is_tried_again() -> None:
    class Tensor:
        pass

    tensors: list[weakref.ref[Tensor]] = []
    pinned: list[bool] = []

    def forward(numbers: list[int]) -> list[int | LikenessError]:
        tensor = Tensor()
        tensors.append(weakref.ref(tensor))
        if len(numbers) > 1:
            raise OutOfMemory("A tensor too many.")
        return tenfold(numbers)

    def rule(numbers: list[int]) -> list[int | LikenessError]:
        pinned.append(any(tensor() is not None for tensor in tensors))
        try:
            return forward(numbers)
        except OutOfMemory as exc:
            raise OutOfMemory("Out of memory.") from exc

    await served(Encoder(rule), 1, 2, 3, 4)
    assert not any(pinned)


async def test_a_caller_gone_during_a_failed_pass_is_not_computed_again() -> None:
    loop = asyncio.get_running_loop()
    leaving: list[Task] = []

    def rule(numbers: list[int]) -> list[int | LikenessError]:
        for task in leaving if POISON in numbers else ():
            loop.call_soon_threadsafe(task.cancel)  # before the loop receives the failure
        return poisoned(numbers)

    encoder = Encoder(rule)
    async with batching(encoder) as batcher:
        first = await occupy(batcher, encoder)
        tasks = await submitted(batcher, 1, 2, POISON, 4)
        leaving.append(tasks[3])
        encoder.let_go()
        await outcomes([first, *tasks])
    assert encoder.batches == [[0], [1, 2, POISON, 4], [1, 2], [POISON]]


async def test_a_crop_that_does_not_fit_alone_fails_only_its_caller() -> None:
    def rule(numbers: list[int]) -> list[int | LikenessError]:
        if POISON in numbers:
            raise OutOfMemory("Too much.")
        return tenfold(numbers)

    assert await served(Encoder(rule), 1, POISON, 3, 4) == [10, OutOfMemory, 30, 40]


async def test_warming_runs_every_shape_once() -> None:
    encoder = Encoder()
    async with batching(encoder) as batcher:
        await batcher.warm(crop(7))
    assert [len(batch) for batch in encoder.batches] == [1, 2, 4, 8]


async def test_warming_fits_the_limit_to_the_memory() -> None:
    async with batching(Encoder(room_for(4)), max_batch=32) as batcher:
        await batcher.warm(crop(7))
        assert batcher.limit == 4


async def test_warming_raises_what_the_encoder_raises() -> None:
    async with batching(Encoder(poisoned)) as batcher:
        with pytest.raises(ValueError, match="bad crop"):
            await batcher.warm(crop(POISON))


async def test_warming_raises_when_rows_are_missing() -> None:
    async with batching(Encoder(lambda numbers: [])) as batcher:
        with pytest.raises(WrongRowCount):
            await batcher.warm(crop(1))


def fill(limit: BatchLimit, times: int) -> None:
    for _ in range(times):
        limit.fitted(limit.value)


@pytest.mark.parametrize(("waiting", "size"), [(0, 0), (1, 1), (3, 2), (7, 4), (8, 8), (99, 8)])
def test_a_batch_is_the_largest_full_shape(waiting: int, size: int) -> None:
    assert BatchLimit(8).full(waiting) == size


def test_the_limit_is_rounded_down_to_a_shape() -> None:
    assert BatchLimit(12).shapes() == [1, 2, 4, 8]


def test_cut_returns_full_batches_of_all_items() -> None:
    assert BatchLimit(8).cut("abcdefg") == ["abcd", "ef", "g"]


def test_no_batch_is_larger_than_the_limit() -> None:
    limit = BatchLimit(8)
    limit.overflowed(4)
    assert limit.cut("abcd") == ["ab", "cd"]


def test_running_out_of_memory_halves_the_limit() -> None:
    limit = BatchLimit(8)
    limit.overflowed(8)
    assert limit.value == 4


def test_the_limit_never_falls_below_one() -> None:
    limit = BatchLimit(1)
    limit.overflowed(1)
    assert limit.value == 1


def test_a_batch_formed_before_the_limit_fell_lowers_it_no_further() -> None:
    limit = BatchLimit(8)
    limit.overflowed(8)
    limit.overflowed(8)
    assert limit.value == 4


def test_full_batches_in_a_row_raise_the_limit() -> None:
    limit = BatchLimit(8, patience=3)
    limit.overflowed(8)
    fill(limit, 3)
    assert limit.value == 8


def test_smaller_batches_prove_nothing() -> None:
    limit = BatchLimit(8, patience=3)
    limit.overflowed(8)
    for _ in range(9):
        limit.fitted(2)
    assert limit.value == 4


def test_the_limit_never_rises_above_the_greatest() -> None:
    limit = BatchLimit(8, patience=1)
    limit.overflowed(8)
    fill(limit, 9)
    assert limit.value == 8


def test_every_failed_trial_doubles_the_wait_for_the_next() -> None:
    limit, waits = BatchLimit(8, patience=3), []
    limit.overflowed(8)
    for _ in range(4):
        waits.append(0)
        while limit.value == 4:
            limit.fitted(4)
            waits[-1] += 1
        limit.overflowed(8)
    assert waits == [3, 6, 12, 24]


def test_a_trial_that_holds_makes_the_next_one_cheap_again() -> None:
    limit = BatchLimit(8, patience=3)
    limit.overflowed(8)
    fill(limit, 3)
    limit.overflowed(8)
    fill(limit, 6)  # raised again
    fill(limit, 6)  # and it held for a whole trial
    limit.overflowed(8)
    fill(limit, 3)
    assert limit.value == 8


def test_a_trial_that_fails_later_still_counts_as_failed() -> None:
    limit = BatchLimit(8, patience=3)
    limit.overflowed(8)
    fill(limit, 3)
    fill(limit, 2)  # the raised limit holds, but not for long enough
    limit.overflowed(8)
    fill(limit, 5)
    assert limit.value == 4
