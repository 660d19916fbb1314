"""What runs on a machine of the cluster: the local engine, in a process that stays."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from models.errors import LikenessError
from models.photo.face import Policy
from service.bulk.files import Row
from service.bulk.local import LocalEngine, open_local
from service.settings import Settings

# While the encoder has photos of one block, those of the next are decoded.
BLOCKS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Work:
    """Say what a worker is to do: with `cores` of its machine, on photos below `root`."""

    settings: Settings
    cores: int
    root: Path
    policy: Policy


class Block(TypedDict):
    """Name the photos of one task."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Done:
    """Hold what became of a block: a row a photo, and the bundle that computed them."""

    rows: list[Row]
    fingerprint: str


class Outcome(TypedDict):
    """Hold what became of a block, or why the run cannot go on."""

    outcome: Done | LikenessError


class Worker:
    """Load the bundle once and embed block after block, called from several threads."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        # Never closed: it ends with this process, and that when Ray has no more work for it.
        self._context = open_local(work.settings, work.cores, BLOCKS_AT_A_TIME)
        self._engine = asyncio.run_coroutine_threadsafe(self._open(), self._loop)

    def __call__(self, block: Block) -> Outcome:
        embedding = self._embed([str(name) for name in block["names"]])
        try:
            done = asyncio.run_coroutine_threadsafe(embedding, self._loop).result()
        except LikenessError as error:
            return {"outcome": error}
        return {"outcome": done}

    async def _open(self) -> LocalEngine:
        return await self._context.__aenter__()

    async def _embed(self, names: Sequence[str]) -> Done:
        engine = await asyncio.wrap_future(self._engine)
        rows = [row async for row in engine.embed(self._work.root, names, self._work.policy)]
        return Done(rows, engine.about.fingerprint)
