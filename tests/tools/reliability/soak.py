"""Send half an hour of mixed traffic with disturbances: the process must not grow.

The store is SQLite. The load is far below capacity, so that growth does not come from a queue.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean, median

from tests.server import RunningServer, running_server
from tests.tools.bench.bodies import photos
from tests.tools.bench.machine import resident_mb
from tests.tools.bench.stages import SIZES
from tests.tools.reliability.row import Row
from tests.tools.reliability.traffic import Tally, Vandal, Worker

MINUTES = 30
SAMPLES = 30
WORKERS = 4
# Requests and disturbances per second, together a third of the capacity of two cores.
RATE, DISTURBANCES = 8.0, 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold the resources of the server's process at one moment, and its p99 until then."""

    resident_mb: float
    descriptors: float
    threads: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Bound:
    """Hold the allowed drift over the second half: a share of the figure plus a number."""

    name: str
    unit: str
    share: float
    number: float

    def row(self, values: Sequence[float], amount: str) -> Row:
        second = values[len(values) // 2 :]
        allowed = max(self.number, self.share * mean(second))
        moved = drift(second)
        return Row(
            f"soak: {self.name}",
            amount,
            f"{values[0]:.0f} at first, {values[-1]:.0f} {self.unit} at last; "
            f"drift over the second half {moved:+.1f}",
            f"at most {allowed:+.1f}",
            moved <= allowed,
        )


BOUNDS = {
    "resident_mb": Bound("resident memory", "MB", 0.02, 0),
    "descriptors": Bound("file descriptors", "open", 0, 2),
    "threads": Bound("threads", "running", 0, 0.5),
    "p99_ms": Bound("p99 of a request", "ms", 0.25, 0),
}


def drift(values: Sequence[float]) -> float:
    """Return the drift of values at equal intervals, from the first to the last.

    The slope is the median of the slopes of all pairs (Theil and Sen), so that an outlier does not
    change it.
    """
    pairs = combinations(enumerate(values), 2)
    slope = median((right - left) / (later - early) for (early, left), (later, right) in pairs)
    return slope * (len(values) - 1)


def rows(scale: float) -> list[Row]:
    """Run for 30 minutes at scale 1, with 30 samples."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder) / "likeness.db", {"LIKENESS_LOG_LEVEL": "error"}) as server,
    ):
        tally = Tally()
        samples = asyncio.run(_soak(server, tally, 60 * MINUTES * scale / SAMPLES))
    amount = f"{MINUTES * scale:g} minutes, {tally.served:,} requests"
    return [
        *(
            bound.row([getattr(sample, name) for sample in samples], amount)
            for name, bound in BOUNDS.items()
        ),
        Row(
            f"soak: failed requests during {tally.disturbances:,} disturbances",
            amount,
            "; ".join([str(len(tally.failed)), *tally.failed[:3]]),
            "0",
            not tally.failed,
        ),
    ]


async def _soak(server: RunningServer, tally: Tally, every_s: float) -> list[Sample]:
    made = photos(*SIZES[0], 32)
    pid = server.process.pid
    samples: list[Sample] = []

    async def sample() -> None:
        for _ in range(SAMPLES):
            await asyncio.sleep(every_s)
            samples.append(
                Sample(
                    resident_mb(pid),
                    len(os.listdir(f"/proc/{pid}/fd")),
                    len(os.listdir(f"/proc/{pid}/task")),
                    tally.take_p99_ms(),
                )
            )

    async with asyncio.TaskGroup() as group:
        traffic = [
            group.create_task(Worker(number, server.url, made, tally).run(RATE / WORKERS))
            for number in range(WORKERS)
        ]
        traffic.append(group.create_task(Vandal(server.url, made[0], tally).run(DISTURBANCES)))
        await sample()
        for task in traffic:
            task.cancel()
    return samples
