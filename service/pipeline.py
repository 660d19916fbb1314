"""From the bytes of a photo to a template, through the decode pool and the batcher."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.embedder import Row
from models.errors import LikenessError
from models.face import Policy
from models.template import Template
from service.batcher import Batcher
from service.metrics import Metrics
from service.prepare import DecodePool, FaceReport


@dataclass(frozen=True, slots=True)
class Took:
    """Hold seconds spent in each stage."""

    decode_s: float
    detect_s: float
    align_s: float
    queue_s: float
    forward_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Hold what one photo became."""

    row: Row
    template: Template
    report: FaceReport
    took: Took


class Pipeline:
    """Turn photos into probes; the same path serves every route."""

    def __init__(
        self,
        pool: DecodePool,
        batcher: "Batcher[Row]",
        fingerprint: str,
        metrics: Metrics,
        width: int,
    ) -> None:
        self._pool = pool
        self._batcher = batcher
        self._fingerprint = fingerprint
        self._metrics = metrics
        self._width = width

    async def probe(self, photo: bytes, policy: Policy, caller: object) -> Probe:
        """Take one photo through every stage.

        `caller` is whoever shares the encoder's queue fairly with others: the request.
        """
        prepared = await self._pool.prepare(photo, policy)
        done = await self._batcher.submit(prepared.crop, caller=caller)
        took = Took(
            prepared.decode_s, prepared.detect_s, prepared.align_s, done.queue_s, done.forward_s
        )
        self._metrics.stages(took, prepared.report.faces)
        return Probe(done.row, Template(done.row.vector, self._fingerprint), prepared.report, took)

    async def probe_each(
        self, photos: Sequence[bytes], policy: Policy, caller: object
    ) -> list[Probe | LikenessError]:
        """Take many photos at once; an unusable one harms only itself.

        Few are under way at a time, so that a request with many photos leaves room in the
        decode pool for a request with one.
        """
        room = asyncio.Semaphore(self._width)

        async def one(photo: bytes) -> Probe | LikenessError:
            async with room:
                try:
                    return await self.probe(photo, policy, caller)
                except LikenessError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(photo)) for photo in photos]
        return [task.result() for task in tasks]

    async def probe_both(
        self, first: bytes, second: bytes, policy: Policy, caller: object
    ) -> tuple[Probe, Probe]:
        """Take two photos at once; if one fails, the other is cancelled and the error raised."""
        try:
            async with asyncio.TaskGroup() as group:
                one = group.create_task(self.probe(first, policy, caller))
                two = group.create_task(self.probe(second, policy, caller))
        except BaseExceptionGroup as failed:
            raise _first_of(failed) from None
        return one.result(), two.result()


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
