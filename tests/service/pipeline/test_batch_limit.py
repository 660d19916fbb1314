import pytest

from service.pipeline.batch_limit import BatchLimit


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
