"""Run what may crash or hang in a process of its own, and take its figures as they come."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic
from typing import TypeVar

Given = TypeVar("Given")
Figure = TypeVar("Figure")


class Unavailable(Exception):
    """What was to be measured cannot be; the message says why."""


def ended(status: int) -> str:
    """Say how a process ended that ought not to have."""
    return f"crashed: {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def apart(
    measure: Callable[[Given], Iterable[Figure]], given: Given, limit_s: float
) -> Iterator[Figure]:
    """Yield what `measure` does with what it is `given`, in a new process, as soon as it is known.

    It may start processes, which end with it. Raises Unavailable where it does, and when it
    crashes or takes longer than `limit_s`.
    """
    spawn = get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_measure, args=(sending, measure, given))
    process.start()
    sending.close()
    deadline = monotonic() + limit_s
    try:
        while receiving.poll(max(0.0, deadline - monotonic())):
            try:
                figure = receiving.recv()
            except EOFError:
                break
            if isinstance(figure, Unavailable):
                raise figure
            yield figure
        else:
            raise Unavailable(f"took longer than {limit_s:.0f} s")
        process.join()
        if process.exitcode:
            raise Unavailable(ended(process.exitcode))
    finally:
        # What it started, too: all are in the group that began with it.
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        receiving.close()


def _measure(
    sending: Connection, measure: Callable[[Given], Iterable[Figure]], given: Given
) -> None:
    os.setsid()
    try:
        for figure in measure(given):
            sending.send(figure)
    except Unavailable as reason:
        sending.send(reason)
