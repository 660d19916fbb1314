import gc
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.datasets.features import AdaptiveBatches, no_note
from models.errors import OutOfMemory


class Machine:
    """Double numbers, in batches of at most `room`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.tried.append(len(items))
        if len(items) > self.room:
            raise OutOfMemory("too many")
        return [2 * item for item in items]


def doubled(machine: Machine, count: int, size: int) -> list[int]:
    return [n for part in AdaptiveBatches(machine, size, no_note)(range(count)) for n in part]


def test_every_item_is_served_once_and_in_order_when_memory_is_short() -> None:
    assert doubled(Machine(room=3), count=20, size=16) == [2 * n for n in range(20)]


def test_a_batch_that_fitted_once_is_kept() -> None:
    machine = Machine(room=4)
    doubled(machine, count=20, size=16)
    assert machine.tried == [16, 8, 4, 4, 4, 4, 4]


def test_the_user_is_told_in_one_line_for_every_halving() -> None:
    lines: list[str] = []
    list(AdaptiveBatches(Machine(room=4), 16, lines.append)(range(20)))
    assert lines == [
        "A batch of 16 does not fit the memory; going on with 8.",
        "A batch of 8 does not fit the memory; going on with 4.",
    ]


def test_what_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(OutOfMemory):
        doubled(Machine(room=0), count=3, size=4)


def test_nothing_of_a_failed_batch_is_held_while_it_is_tried_again() -> None:
    held: list[weakref.ref[NDArray[np.float32]]] = []

    def run(items: Sequence[int]) -> list[int]:
        gc.collect()
        assert all(reference() is None for reference in held)
        pixels = np.zeros(len(items), np.float32)
        held.append(weakref.ref(pixels))
        if len(items) > 1:
            raise OutOfMemory("too many")
        return list(items)

    assert [n for part in AdaptiveBatches(run, 4, no_note)(range(4)) for n in part] == [0, 1, 2, 3]
