"""Break what the service depends on: problems and probes must be right, and it must recover."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.postgres import running_cluster
from tests.tools.reliability.clock_fault import clock_row
from tests.tools.reliability.fault import try_out
from tests.tools.reliability.forked import Nursery
from tests.tools.reliability.model_faults import model_faults, served_with_memory_for
from tests.tools.reliability.row import Row
from tests.tools.reliability.small import MAX_BATCH, small_service
from tests.tools.reliability.small_disk import small_disk_rows
from tests.tools.reliability.store_faults import postgres_faults, sqlite_faults
from tests.tools.reliability.trouble import Trouble


def rows(scale: float) -> list[Row]:
    """Test every fault once; the scale does not change this."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nursery = small_service(folder)
        return [
            *of_sqlite(nursery, folder / "likeness.db"),
            *small_disk_rows(nursery.settings, folder / "disk"),
            *of_postgres(nursery),
            *of_models(nursery),
        ]


def of_sqlite(nursery: Nursery, path: Path) -> Iterator[Row]:
    """Test the faults of a SQLite file."""
    nursery = nursery.set(store=f"sqlite:///{path}")
    with nursery.server() as server, server.client() as client:
        for fault in sqlite_faults(path, server.pid):
            yield try_out("SQLite", fault, client)
    yield of_clock("SQLite", nursery)


def of_postgres(nursery: Nursery) -> Iterator[Row]:
    """Test the faults of a PostgreSQL server."""
    with running_cluster() as cluster:
        nursery = nursery.set(store=cluster.url())
        with nursery.server() as server, server.client() as client:
            for fault in postgres_faults(cluster):
                yield try_out("PostgreSQL", fault, client)
        yield of_clock("PostgreSQL", nursery)


def of_clock(engine: str, nursery: Nursery) -> Row:
    """Test jumps of the wall clock."""
    trouble = Trouble(nursery.context)
    with nursery.server(trouble) as server, server.client() as client:
        return clock_row(engine, client, trouble)


def of_models(nursery: Nursery) -> Iterator[Row]:
    """Test the faults between a photo and its vector.

    Each has its own server, because some last forever and a batch limit recovers slowly.
    """
    nursery = nursery.set(store="sqlite:///:memory:")
    yield _memory_row(nursery)
    for at in range(len(model_faults(Trouble(nursery.context)))):
        trouble = Trouble(nursery.context)
        with nursery.set(watchdog_s="1").server(trouble) as server, server.client() as client:
            yield try_out("model", model_faults(trouble)[at], client)


def _memory_row(nursery: Nursery) -> Row:
    sizes, crowd = range(2, MAX_BATCH + 1), 2 * MAX_BATCH + 1
    served = 0
    for size in sizes:
        trouble = Trouble(nursery.context)
        with nursery.server(trouble) as server, server.client() as client:
            served += served_with_memory_for(size - 1, client, trouble, crowd)
    asked = len(sizes) * crowd
    return Row(
        f"model: there is no memory for {sizes[0]}, {sizes[1]}, ... {sizes[-1]} faces",
        f"{asked} requests",
        f"{served} served",
        "all served",
        served == asked,
    )
