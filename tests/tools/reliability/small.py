"""A service that starts at once: a tiny encoder of random numbers, photos taken as they are."""

from pathlib import Path

from tests.checkpoints import write_bundle
from tests.tools.reliability.forked import Nursery

MAX_BATCH = 8


def small_service(folder: Path) -> Nursery:
    """Return what forks servers with a bundle that is written to a folder."""
    return Nursery.open(
        bundle=str(write_bundle(folder / "bundle")),
        detector="none",
        log_level="error",
        max_batch=str(MAX_BATCH),
        # What is slow here is the machine, or meant to be.
        queue_timeout_s="60",
    )
