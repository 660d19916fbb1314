import os
import subprocess
import sys

import pytest

# A process of its own: torch starts the workers of a thread once.
PROGRAM = """
import os, threading, torch
from pathlib import Path
from models.team import Team
everywhere = os.sched_getaffinity(0)
torch.set_num_threads(len(everywhere))
def run():
    before = set(os.listdir("/proc/self/task"))
    for _ in range(2):
        Team().place()
    workers = set(os.listdir("/proc/self/task")) - before
    cores = sorted(core for worker in workers for core in os.sched_getaffinity(int(worker)))
    print(cores == sorted(everywhere)[1:], os.sched_getaffinity(0) == everywhere)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def placed() -> list[str]:
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("threads can be placed on Linux, where there are two cores")
    environment = {name: value for name, value in os.environ.items() if name[:4] != "OMP_"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def test_every_worker_has_a_core_of_its_own() -> None:
    assert placed()[0] == "True"


def test_the_thread_itself_stays_free_to_move() -> None:
    assert placed()[1] == "True"
