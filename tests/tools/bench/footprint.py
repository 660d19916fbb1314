"""Measure the service's start time and memory: `python -m tests.tools.bench.footprint`.

`deploy/speed.md` quotes the figures of `--requests 10000`; fewer requests show the same in minutes.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from models.bundle import load_bundle
from tests.server import running_server
from tests.tools.bench.bodies import cycle, multipart, photos
from tests.tools.bench.http import embed
from tests.tools.bench.load import closed_loop
from tests.tools.bench.machine import describe_machine, markdown, resident_mb
from tests.tools.bench.stages import SIZES, engines_of

STARTS = 3
PARTS = 4


def table(folder: Path, requests: int) -> str:
    """Return the table of seconds until ready and of resident memory during a run, by engine."""
    forms = [multipart(photo) for photo in photos(*SIZES[0], 32)]
    rows = []
    for engine in engines_of(load_bundle()):
        settings = {"LIKENESS_ENGINE": engine}
        starts = []
        for _ in range(STARTS):
            began = perf_counter()
            with running_server(folder / f"{engine}.db", settings):
                starts.append(perf_counter() - began)
        with running_server(folder / f"{engine}.db", settings) as server:
            memory_mb = [resident_mb(server.process.pid)]
            for _ in range(PARTS):
                bodies = cycle(forms, requests // PARTS)
                asyncio.run(closed_loop(embed(server), bodies, 16))
                memory_mb.append(resident_mb(server.process.pid))
        ready = f"{sorted(starts)[STARTS // 2]:.1f}"
        rows.append((engine, ready, *(f"{mb:.0f}" for mb in memory_mb)))
    after = (f"after {requests * part // PARTS}" for part in range(PARTS + 1))
    head = ("engine", "ready s", *(f"MB {moment}" for moment in after))
    return markdown("Start time, and resident memory during /embed requests", head, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        print(table(Path(folder), arguments.requests))


if __name__ == "__main__":
    main()
