"""Measure the search of one person among many: `python -m tests.tools.bench.gallery`.

Both stores are called through the protocol `Store`, in this process, for 5 subjects a search.
Galleries are loaded in bulk, as for a migration: first the rows, then the index.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np

from service.store import NewTemplate, Store, open_store
from tests.postgres import running_cluster
from tests.tools.bench.crowd import Crowd, Vectors, crowd, strangers
from tests.tools.bench.gallery_load import FINGERPRINT, LoadedGallery, postgres, sqlite
from tests.tools.bench.machine import describe_machine, markdown, resident_mb

T = TypeVar("T")

LIMIT = 5
PROBES = 500
AT_ONCE = 8
SEARCH = (
    "store", "templates", "known people: p50 ms", "p95 ms", f"/s, {AT_ONCE} at once",
    "nearest is first", "strangers: p50 ms", "p95 ms", f"/s, {AT_ONCE} at once",
    "nearest is first",
)  # fmt: skip
UPKEEP = (
    "store", "templates", "rows s", "index s", "start s", "index MB", "database MB",
    "enrol ms", "read a subject ms", f"reads/s, {AT_ONCE} at once",
)  # fmt: skip
# Settings for a machine with 4 GB for the database, with an index build on both cores.
POSTGRES = {
    "shared_buffers": "4GB",
    "maintenance_work_mem": "2GB",
    "max_parallel_maintenance_workers": "1",
    "max_wal_size": "8GB",
}


def tables(sizes: Iterable[int]) -> str:
    """Return the tables of searches and of gallery upkeep, by store and size."""
    searches, upkeep = [], []
    for size in sizes:
        people = crowd(size)
        probes = people.probes(PROBES), strangers(PROBES)
        nearest = [_nearest(people.gallery, vectors) for vectors in probes]
        for name, loaded in (("SQLite, exact", in_sqlite), ("PostgreSQL, HNSW", in_postgres)):
            with loaded(people) as gallery:
                found, costs = asyncio.run(_measure(gallery, people, probes, nearest))
            searches.append((name, f"{size:,}", *found))
            upkeep.append((name, f"{size:,}", *costs))
    return "\n\n".join(
        (
            markdown("One among many: searches", SEARCH, searches),
            markdown("One among many: upkeep of the gallery", UPKEEP, upkeep),
        )
    )


@contextmanager
def in_sqlite(people: Crowd) -> Iterator[LoadedGallery]:
    """Load people into a SQLite file that exists until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        yield sqlite(Path(folder) / "gallery.db", people)


@contextmanager
def in_postgres(people: Crowd) -> Iterator[LoadedGallery]:
    """Load people into a PostgreSQL server that runs until the block ends."""
    with running_cluster(**POSTGRES) as cluster:
        yield postgres(cluster, people)


async def _measure(
    loaded: LoadedGallery,
    people: Crowd,
    probes: Sequence[Vectors],
    nearest: Sequence[Sequence[int]],
) -> tuple[list[str], list[str]]:
    before = resident_mb(os.getpid())
    began = perf_counter()
    store = await open_store(loaded.url)
    start = perf_counter() - began
    grown = resident_mb(os.getpid()) - before
    await _ask(store, probes[0][:50])  # warms caches
    found = [
        cell
        for vectors, rows in zip(probes, nearest, strict=True)
        for cell in await _searches(store, people, vectors, rows)
    ]
    subjects = _subjects(people)
    reads = [await _timed(store.templates_of(subject)) for subject in subjects]
    reads_rate = await _rate(store.templates_of, subjects)
    enrol = await _enrol(store)
    await store.close()
    costs = [
        f"{loaded.rows_s:.0f}",
        f"{loaded.index_s:.0f}",
        f"{start:.1f}",
        f"{grown if loaded.index_mb is None else loaded.index_mb:.0f}",
        f"{loaded.database_mb:.0f}",
        f"{1000 * enrol:.1f}",
        f"{1000 * statistics.median(reads):.1f}",
        f"{reads_rate:.0f}",
    ]
    return found, costs


async def _searches(
    store: Store, people: Crowd, probes: Vectors, nearest: Sequence[int]
) -> list[str]:
    times, firsts = await _ask(store, probes)
    rate = await _rate(partial(store.search, fingerprint=FINGERPRINT, limit=LIMIT), probes)
    return [
        f"{1000 * statistics.median(times):.1f}",
        f"{1000 * float(np.percentile(times, 95)):.1f}",
        f"{rate:.0f}",
        _recall(people, firsts, nearest),
    ]


async def _ask(store: Store, probes: Vectors) -> tuple[list[float], list[str]]:
    """Search one probe after the other; return the seconds and the first candidate of each."""
    times, firsts = [], []
    for probe in probes:
        began = perf_counter()
        found = await store.search(probe, FINGERPRINT, LIMIT)
        times.append(perf_counter() - began)
        firsts.append(found[0].subject)
    return times, firsts


async def _rate(call: Callable[[T], Awaitable[object]], arguments: Sequence[T] | Vectors) -> float:
    """Return the calls per second with AT_ONCE calls at a time."""
    left = iter(arguments)

    async def caller() -> None:
        for argument in left:
            await call(argument)

    began = perf_counter()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return len(arguments) / (perf_counter() - began)


async def _timed(work: Awaitable[object]) -> float:
    began = perf_counter()
    await work
    return perf_counter() - began


def _subjects(people: Crowd) -> list[str]:
    rows = np.random.default_rng(4).choice(len(people.gallery), 2 * PROBES, replace=False)
    return [people.subject_of(int(row)) for row in rows]


async def _enrol(store: Store) -> float:
    """Return the median seconds to enrol one of 100 strangers; each must be found at once."""
    times = []
    for number, vector in enumerate(strangers(PROBES + 100)[PROBES:]):
        name = f"new{number}"
        template = NewTemplate(name, vector, FINGERPRINT, f"{number:064x}", {}, None)
        times.append(await _timed(store.enroll(name, [template])))
        (found,) = await store.search(vector, FINGERPRINT, 1)
        if found.subject != name:
            raise AssertionError(f"{name} was enrolled but a search does not find it")
    return statistics.median(times)


def _nearest(gallery: Vectors, probes: Vectors) -> list[int]:
    """Return the row of the gallery that is nearest to each probe."""
    rows: list[int] = (gallery @ probes.T).argmax(axis=0).tolist()
    return rows


def _recall(people: Crowd, firsts: Sequence[str], nearest: Sequence[int]) -> str:
    hits = [name == people.subject_of(row) for name, row in zip(firsts, nearest, strict=True)]
    return f"{sum(hits) / len(hits):.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    print(tables(arguments.templates))


if __name__ == "__main__":
    main()
