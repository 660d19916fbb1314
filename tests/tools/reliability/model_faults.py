"""Break the recognition: no memory, a hanging forward pass or detector, a thread that ends."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import sleep

import httpx

from tests.tools.reliability.fault import Fault, embed, enrol, verify
from tests.tools.reliability.trouble import Trouble

_ASKED = (embed, enrol, verify)


def model_faults(trouble: Trouble) -> list[Fault]:
    """Return the faults that can happen between a photo and its vector."""

    def no_memory() -> None:
        trouble.fits.value = 0

    def fault(what: str, begin: Callable[[], None], answer: str) -> Fault:
        return Fault(what, partial(_during, begin, trouble), _ASKED, frozenset({answer}))

    return [
        fault("there is no memory for one face", no_memory, "503 out_of_memory"),
        replace(
            fault("a forward pass hangs", trouble.encoder_free.clear, "503 encoder_stalled"),
            live=False,
        ),
        replace(
            fault("the encoder's thread ends", trouble.encoder_ends.set, "503 encoder_stopped"),
            live=False,
            lasting=True,
        ),
        replace(
            fault("a detector hangs", trouble.detector_free.clear, "503 decoder_stalled"),
            live=False,
        ),
        replace(
            fault("a detector ends its thread", trouble.detector_ends.set, "500 internal_error"),
            ready=True,
        ),
    ]


@contextmanager
def _during(begin: Callable[[], None], trouble: Trouble) -> Iterator[None]:
    begin()
    try:
        yield
    finally:
        trouble.end()


def served_with_memory_for(faces: int, client: httpx.Client, trouble: Trouble, crowd: int) -> int:
    """Return how many of many requests are served with memory for `faces` faces per pass.

    The first pass waits until most requests have arrived, so that the next pass is full.
    """
    trouble.fits.value = faces
    trouble.encoder_free.clear()
    with ThreadPoolExecutor(crowd) as pool:
        sent = [pool.submit(embed, client) for _ in range(crowd)]
        while _waiting(client) < crowd // 2:
            sleep(0.01)
        trouble.encoder_free.set()
        return sum(each.result().is_success for each in sent)


def _waiting(client: httpx.Client) -> int:
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    depth = next(line for line in lines if line.startswith("likeness_queue_depth "))
    return int(float(depth.split()[1]))
