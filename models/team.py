"""Keep the threads that compute one batch together on cores of their own."""

import os
import threading
from pathlib import Path

import torch

_TASKS = Path("/proc/self/task")


class Team:
    """Place the workers that torch gives the thread that runs the encoder.

    A worker that has slept is woken by the thread it works for, and some kernels (those of
    small virtual machines among them) leave both on one core for as long as a lone crop
    takes: two cores are then no faster than one. So every worker gets a core of its own, and
    the thread itself, which stays where the kernel wants it, soon has another. Only Linux
    lets a process place its threads; elsewhere nothing happens.
    """

    def __init__(self) -> None:
        self._leader: int | None = None

    def place(self) -> None:
        """Place the calling thread's workers; they are found the first time it is called."""
        me = threading.get_native_id()
        if self._leader == me or not _TASKS.is_dir():
            return
        self._leader = me
        cores = sorted(os.sched_getaffinity(0))
        before = _threads()
        torch.zeros(1 << 20).add_(1)  # large enough that torch starts its workers
        workers = sorted(_threads() - before)
        # Another number: somebody else started threads meanwhile, or the cores were restricted.
        if len(workers) == torch.get_num_threads() - 1 < len(cores):
            for worker, core in zip(workers, cores[1:], strict=False):
                os.sched_setaffinity(worker, {core})


def _threads() -> set[int]:
    return {int(task.name) for task in _TASKS.iterdir()}
