"""Bound how many lines of one kind a log gets: a crowd of strangers must not fill a disk."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

KIND: Final = "kind"
"""What a record's `extra` may say of its kind; warnings and worse have that of their message."""
LEFT_OUT: Final = "left_out"
"""What a record is told by: how many like it were left out since the last one."""

_MOST, _WITHIN_S = 20, 10.0
# More kinds than the code has of lines: what is beyond has a kind of its own in common.
_MOST_KINDS = 1000


@dataclass(slots=True)
class _Count:
    """Count the lines of one kind since a moment."""

    since: float
    lines: int = 0
    left_out: int = 0


class Sparing(logging.Filter):
    """Let at most 20 lines of a kind through in ten seconds; the next one tells of the rest."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[object, _Count] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = _kind_of(record)
        if kind is None:
            return True
        if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
            kind = None
        now = self._clock()
        count = self._counts.setdefault(kind, _Count(now))
        if now - count.since >= _WITHIN_S:
            count.since, count.lines = now, 0
        if count.lines >= _MOST:
            count.left_out += 1
            return False
        count.lines += 1
        if count.left_out:
            setattr(record, LEFT_OUT, count.left_out)
            count.left_out = 0
        return True


def _kind_of(record: logging.LogRecord) -> object:
    said = getattr(record, KIND, None)
    if said is None and record.levelno >= logging.WARNING:
        said = record.msg
    return None if said is None else (record.name, record.levelno, said)
