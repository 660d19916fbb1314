"""Run a measurement that may crash or hang in another process, and yield its figures."""

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
    """Say that something cannot be measured; the message says why."""


def ended(status: int) -> str:
    """Describe the unexpected end of a process."""
    return f"crashed: {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def apart(
    measure: Callable[[Given], Iterable[Figure]], given: Given, limit_s: float
) -> Iterator[Figure]:
    """Call `measure(given)` in a new process, and yield each figure as soon as it is known.

    Processes that it starts are killed at the end. Raises Unavailable if `measure` does, crashes,
    or takes longer than `limit_s`.
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
        # Kill the processes that it started, too: they are in its process group.
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
