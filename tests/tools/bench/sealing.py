"""Measure the cost of template protection: `python -m tests.tools.bench.sealing`.

The same gallery is measured in clear and then sealed, in both stores.
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from service.store import Vault, open_store
from tests.tools.bench.crowd import Crowd, crowd
from tests.tools.bench.gallery import LIMIT, in_postgres, in_sqlite
from tests.tools.bench.gallery_load import FINGERPRINT
from tests.tools.bench.machine import describe_machine, markdown

PROBES = 300
STEP = 1000
HEAD = (
    "store", "templates", "", "start s", "search p50 ms", "read a subject p50 ms", "sealed in s",
)  # fmt: skip
MASTER = bytes(32)


def table(size: int) -> str:
    """Return the table of times to open, search and read a gallery, in clear and sealed."""
    people = crowd(size)
    rows: list[Sequence[str]] = []
    for name, load in (("SQLite", in_sqlite), ("PostgreSQL", in_postgres)):
        with load(people) as gallery:
            clear = asyncio.run(_measure(gallery.url, Vault(), people))
            seconds = asyncio.run(_seal(gallery.url))
            sealed = asyncio.run(_measure(gallery.url, Vault([MASTER]), people))
        rows.append((name, f"{size:,}", "clear", *clear, ""))
        rows.append((name, f"{size:,}", "sealed", *sealed, f"{seconds:.0f}"))
    return markdown("Template protection", HEAD, rows)


async def _seal(url: str) -> float:
    began = perf_counter()
    store = await open_store(url, vault=Vault([MASTER]))
    while (await store.reseal(STEP)).left:
        pass
    await store.close()
    return perf_counter() - began


async def _measure(url: str, vault: Vault, people: Crowd) -> list[str]:
    began = perf_counter()
    store = await open_store(url, vault=vault)
    start = perf_counter() - began
    probes = people.probes(PROBES)
    searches = await _median(lambda at: store.search(probes[at], FINGERPRINT, LIMIT))
    reads = await _median(lambda at: store.templates_of(f"p{at}"))
    await store.close()
    return [f"{start:.2f}", f"{1000 * searches:.2f}", f"{1000 * reads:.2f}"]


async def _median(query: Callable[[int], Awaitable[object]]) -> float:
    times = []
    for at in range(PROBES):
        began = perf_counter()
        await query(at)
        times.append(perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=int, default=20_000)
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    print(table(arguments.templates))


if __name__ == "__main__":
    main()
