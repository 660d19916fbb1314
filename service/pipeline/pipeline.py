"""From the bytes of a photo to a template, by the decode pool and the batcher."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.decision import Template
from models.embedder import Row
from models.errors import LikenessError, naming
from models.photo import FacePolicy
from service.observe.metrics import Metrics, StageTimes
from service.observe.traces import add_stage
from service.pipeline.batcher import Batcher, EncodedCrop
from service.pipeline.decode import Caller, DecodePool, FaceReport, PreparedCrop


@dataclass(frozen=True, slots=True)
class Probe:
    """Hold one embedded face: the encoder's row, its template, the face report and stage times."""

    row: Row
    template: Template
    report: FaceReport
    times: StageTimes


class Pipeline:
    """Turn photos into probes; every route uses this path.

    `template_of` makes a template of the encoder's row. At most `width` photos of one request
    are processed at a time.
    """

    def __init__(
        self,
        pool: DecodePool,
        batcher: "Batcher[Row]",
        template_of: Callable[[Row], Template],
        metrics: Metrics,
        width: int,
    ) -> None:
        self._pool = pool
        self._batcher = batcher
        self._template_of = template_of
        self._metrics = metrics
        self._width = width

    async def probe(self, photo: bytes, policy: FacePolicy, caller: Caller) -> Probe:
        """Return the probe of one photo."""
        probe = await self._embed(await self._pool.prepare(photo, policy, caller), caller)
        self._metrics.stages(probe.times, probe.report.faces)
        return probe

    async def probe_all(self, photo: bytes, most: int, caller: Caller) -> list[Probe]:
        """Return a probe for each face of one photo, at most `most`, largest first.

        At most `width` faces wait for the encoder at a time.
        """
        prepared = await self._pool.prepare_all(photo, most, caller)
        room = asyncio.Semaphore(self._width)

        async def one(face: PreparedCrop) -> Probe:
            async with room:
                return await self._embed(face, caller)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(face)) for face in prepared]
        except BaseExceptionGroup as failed:
            raise _first_of(failed) from None
        first, *others = (task.result() for task in tasks)
        self._metrics.stages(first.times, first.report.faces)
        for other in others:
            self._metrics.stage("align", other.times.align_s)
            self._metrics.stage("queue", other.times.queue_s)
            self._metrics.stage("forward", other.times.forward_s)
        return [first, *others]

    async def probe_each(
        self, photos: Sequence[bytes], policy: FacePolicy, caller: Caller
    ) -> list[Probe | LikenessError]:
        """Return a probe or an error for each photo, in order.

        At most `width` photos are processed at a time, so that a request with many photos leaves
        room in the decode pool for a request with one photo, and needs little memory.
        """
        room = asyncio.Semaphore(self._width)

        async def one(photo: bytes) -> Probe | LikenessError:
            async with room:
                try:
                    return await self.probe(photo, policy, caller)
                except LikenessError as error:
                    return error.without_trace()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(photo)) for photo in photos]
        return [task.result() for task in tasks]

    async def probe_both(
        self, photos: Mapping[str, bytes], policy: FacePolicy, caller: Caller
    ) -> tuple[Probe, Probe]:
        """Return the probes of two photos; if one fails, cancel the other and raise the error.

        `photos` is by the request's fields. The error names the field of the bad photo.
        """

        async def one(field: str, photo: bytes) -> Probe:
            with naming(field):
                return await self.probe(photo, policy, caller)

        try:
            async with asyncio.TaskGroup() as group:
                first, second = [group.create_task(one(*named)) for named in photos.items()]
        except BaseExceptionGroup as failed:
            raise _first_of(failed) from None
        return first.result(), second.result()

    async def _embed(self, prepared: PreparedCrop, caller: Caller) -> Probe:
        encoded = await self._batcher.submit(prepared.crop, caller=caller)
        times = replace(prepared.times, queue_s=encoded.queue_s, forward_s=encoded.forward_s)
        self._metrics.quality(prepared.report.quality)
        self._trace(prepared.started, encoded, times)
        return Probe(encoded.row, self._template_of(encoded.row), prepared.report, times)

    def _trace(self, started: float, encoded: EncodedCrop[Row], times: StageTimes) -> None:
        tracer = self._metrics.tracer
        for stage, seconds in (
            ("decode", times.decode_s),
            ("detect", times.detect_s),
            ("align", times.align_s),
        ):
            add_stage(tracer, stage, started, seconds)
            started += seconds
        add_stage(tracer, "queue", encoded.started - times.queue_s, times.queue_s)
        add_stage(tracer, "forward", encoded.started, times.forward_s, encoded.sharers)


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def check_any_usable(probes: Sequence[Probe | LikenessError]) -> None:
    """Raise the first photo's error, naming that photo, if no photo could be used."""
    errors = [probe for probe in probes if isinstance(probe, LikenessError)]
    if len(errors) == len(probes):
        raise errors[0].about("image.0")
