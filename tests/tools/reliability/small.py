"""Fork a service that starts at once: with a tiny random encoder and without a detector."""

from pathlib import Path

from tests.checkpoints import write_bundle
from tests.tools.reliability.forked import Nursery

MAX_BATCH = 8


def small_service(folder: Path) -> Nursery:
    """Return a nursery of servers with a bundle that is written to a folder."""
    return Nursery.open(
        bundle=str(write_bundle(folder / "bundle")),
        detector="none",
        log_level="error",
        max_batch=str(MAX_BATCH),
        # Delays are due to the machine, or intended.
        queue_timeout_s="60",
    )
