import pytest

from service.pipeline.fair_queue import FairQueue


def queue_of(*lines: tuple[str, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for caller, items in lines:
        for item in items:
            queue.push(caller, item)
    return queue


def test_callers_take_turns() -> None:
    assert "".join(queue_of(("a", "123"), ("b", "45"), ("c", "6")).drain()) == "146253"


def test_each_caller_keeps_their_order() -> None:
    assert "".join(queue_of(("a", "1234")).drain()) == "1234"


def test_a_caller_who_had_a_turn_comes_last() -> None:
    queue = queue_of(("a", "12"))
    queue.pop()
    queue.push("b", "3")
    assert "".join(queue.drain()) == "23"


def test_a_discarded_item_is_gone() -> None:
    queue = queue_of(("a", "12"), ("b", "3"))
    queue.discard("a", "1")
    assert "".join(queue.drain()) == "23"


def test_a_caller_whose_last_item_is_discarded_has_no_turn() -> None:
    queue = queue_of(("a", "1"), ("b", "2"))
    queue.discard("a", "1")
    assert (queue.pop(), len(queue)) == ("2", 0)


@pytest.mark.parametrize(("caller", "item"), [("a", "2"), ("b", "1")])
def test_an_unknown_item_is_not_discarded(caller: str, item: str) -> None:
    queue = queue_of(("a", "1"))
    assert (queue.discard(caller, item), len(queue)) == (False, 1)


def test_iteration_removes_nothing() -> None:
    queue = queue_of(("a", "12"), ("b", "3"))
    assert (sorted(queue), len(queue)) == (["1", "2", "3"], 3)


def test_nothing_comes_from_an_empty_queue() -> None:
    with pytest.raises(KeyError):
        queue_of().pop()
