"""What was acknowledged is there after the process was killed."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from service.store import open_store

ENROL_FOREVER = """
import asyncio, sys
from tests.service.store_samples import template
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


async def test_acknowledged_enrolments_survive_being_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    dice = random.Random(7)
    acknowledged: set[str] = set()
    for turn in range(3):
        seen = await enrol_and_kill(url, turn, dice.randrange(1, 40))
        acknowledged |= set(seen)
        store = await open_store(url)
        kept = {
            each.template_id
            for summary in (await store.subjects(None, 100)).items
            for each in (await store.export(summary.subject)).templates
        }
        await store.close()
        assert acknowledged <= kept
