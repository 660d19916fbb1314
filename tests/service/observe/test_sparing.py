"""No condition that lasts, and no stranger who goes on, writes without end to the log."""

import logging

from service.observe.logs import KIND, LEFT_OUT, Sparing


class Time:
    """Tell a time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(message: str, level: int = logging.WARNING, kind: object = None) -> logging.LogRecord:
    made = logging.LogRecord("likeness", level, "", 0, message, (), None)
    setattr(made, KIND, kind)
    return made


def test_twenty_of_a_kind_pass_and_a_later_one_tells_of_the_rest() -> None:
    time = Time()
    sparing = Sparing(time)
    assert sum(sparing.filter(record("again")) for _ in range(100)) == 20
    assert sparing.filter(record("something else"))
    time.now += 10
    later = record("again")
    assert sparing.filter(later)
    assert getattr(later, LEFT_OUT) == 80


def test_requests_are_bounded_by_the_kind_that_they_say() -> None:
    sparing = Sparing()
    refused = [record(f"GET {at}", logging.INFO, ("GET", 401)) for at in range(100)]
    assert sum(sparing.filter(each) for each in refused) == 20
    assert all(sparing.filter(record("served", logging.INFO)) for _ in range(100))
