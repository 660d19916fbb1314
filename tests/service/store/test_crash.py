"""Acknowledged templates are there after the process was killed."""

import asyncio
import random
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.store import open_store
from tests.contracts.store.samples import all_exports, template
from tests.postgres import Cluster, running_cluster

ENROL_FOREVER = """
import asyncio, sys
from tests.contracts.store.samples import template
from service.store import open_store

async def enrol_forever(turn):
    store = await open_store(sys.argv[1])
    async def one(number):
        image = f"{turn}-{number}"
        await store.enroll(f"s{number % 5}", [template(image, image)])
        print(image, flush=True)
    for number in range(0, 1_000_000, 4):
        await asyncio.gather(*[one(number + i) for i in range(4)])

asyncio.run(enrol_forever(sys.argv[2]))
"""


async def enrol_and_kill(url: str, turn: int, lines: int) -> list[str]:
    """Return the ids that were acknowledged before the process was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENROL_FOREVER, url, str(turn), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    seen = [await process.stdout.readline() for _ in range(lines)]
    process.kill()
    seen += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line.decode().strip() for line in seen if line.endswith(b"\n")]


async def templates_kept(url: str) -> set[str]:
    """Return the ids in the store after it is opened again."""
    store = await open_store(url)
    kept = {each.template_id for export in await all_exports(store) for each in export.templates}
    await store.close()
    return kept


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.new_database()


async def test_acknowledged_enrolments_survive_being_killed(url: str) -> None:
    dice = random.Random(7)
    acknowledged: set[str] = set()
    for turn in range(3):
        acknowledged |= set(await enrol_and_kill(url, turn, dice.randrange(1, 40)))
        assert acknowledged <= await templates_kept(url)


async def test_acknowledged_enrolments_survive_a_power_cut_of_the_database() -> None:
    # Its own server, because other tests use the shared one.
    with running_cluster() as cluster:
        store = await open_store(cluster.url())
        acknowledged: list[str] = []

        async def enrol_until_cut(worker: int) -> None:
            with suppress(StoreUnavailable):
                for number in count():
                    image = f"{worker}-{number}"
                    await store.enroll(f"s{worker}", [template(image, image)])
                    acknowledged.append(image)
                    if len(acknowledged) == 100:
                        await asyncio.to_thread(cluster.kill)

        await asyncio.gather(*(enrol_until_cut(worker) for worker in range(4)))
        await store.close()
        cluster.start()
        assert set(acknowledged) <= await templates_kept(cluster.url())
