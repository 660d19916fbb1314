"""Embed many files in this process, by the service's own pipeline."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.bundle import Bundle
from models.datasets.folders import read_photo_file
from models.datasets.tables import UNREADABLE, RejectedFile
from models.datasets.vectors import VectorOrigin, VectorRow
from models.embedder import Embedder
from models.encoder.device import choose_device
from models.errors import LikenessError
from models.photo import FacePolicy
from service.bulk.files import Row
from service.client.folders import in_tasks
from service.observe.metrics import Metrics
from service.pipeline.batcher import Batcher
from service.pipeline.decode import Caller, DecodePool
from service.pipeline.loading import load_embedder, open_pool
from service.pipeline.pipeline import Pipeline, Probe
from service.settings import Settings

BATCH_ON_CPU, BATCH_ON_GPU = 32, 256
# Bulk work can wait for fuller batches, which leave more of the cores to decoding.
GATHER_MS = 200.0
# A pass of a large batch on a busy machine is slow, not hung.
WAIT_S = 3600.0

# Errors that no file causes: to continue would list good files as broken.
FATAL = frozenset(
    (
        *("out_of_memory", "device_lost", "wrong_row_count"),
        *("encoder_stopped", "encoder_stalled", "decoder_stalled"),
    )
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Say why a file has no vector."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """Hold the probe of one file, or its rejection; `sha256` is of its bytes, "" if unread."""

    file: Path
    sha256: str
    outcome: Probe | Rejection


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Embed many files in this process, by the service's own pipeline.

    `threads` decode, and a batch has up to `batch` faces.
    """

    embedder: Embedder
    pool: DecodePool
    pipeline: Pipeline
    threads: int
    batch: int

    @property
    def origin(self) -> VectorOrigin:
        return origin_of(self.embedder.bundle)

    @property
    def width(self) -> int:
        """Return how many files are processed at a time: one batch runs while the next fills."""
        return self.threads + 2 * self.batch

    async def embed(
        self, root: Path, names: Sequence[str], policy: FacePolicy
    ) -> AsyncGenerator[Row]:
        files = (root / name for name in names)
        async with aclosing(self.probe_files(files, policy)) as results:
            async for result in results:
                yield as_row(result, root)

    async def probe_files(
        self, files: Iterable[Path], policy: FacePolicy
    ) -> AsyncGenerator[FileResult]:
        """Yield the result of every file as soon as it is ready, in any order.

        An unusable file is a result too. Raises LikenessError if the device is lost or its memory
        does not hold even one crop.
        """

        async def one(file: Path) -> FileResult:
            return await self._one(file, policy)

        async with aclosing(in_tasks(files, one, self.width)) as results:
            async for result in results:
                yield result

    async def _one(self, file: Path, policy: FacePolicy) -> FileResult:
        try:
            data = await asyncio.to_thread(read_photo_file, file)
        except OSError as error:
            sentence = error.strerror or "The file cannot be read."
            return FileResult(file, "", Rejection(UNREADABLE, sentence))
        digest = hashlib.sha256(data).hexdigest()
        try:
            return FileResult(file, digest, await self.pipeline.probe(data, policy, Caller()))
        except LikenessError as error:
            if error.code in FATAL:
                raise
            return FileResult(file, digest, Rejection(error.code, error.sentence))


def decode_threads(cores: int, on_gpu: bool) -> int:
    """Return how many cores decode; without a GPU the other cores encode.

    A photo takes a core about 13 ms to decode and detect, and 4 to 6 ms to encode. With three
    quarters of the cores for decoding, neither side waits long for the other.
    """
    return cores if on_gpu else max(1, cores * 3 // 4)


def batch_size(settings: Settings, on_gpu: bool) -> int:
    """Return the most faces in one forward pass."""
    return settings.max_batch or (BATCH_ON_GPU if on_gpu else BATCH_ON_CPU)


@asynccontextmanager
async def open_local(
    settings: Settings, cores: int | None = None, callers: int = 1
) -> AsyncIterator[LocalEngine]:
    """Open a decode pool and a batcher that are tuned for files rather than for requests.

    `cores` is how many cores to use, all by default; `callers` is how many callers may probe
    files at a time.
    """
    on_gpu = choose_device(settings.device).type == "cuda"
    batch = batch_size(settings, on_gpu)
    cores = cores or os.cpu_count() or 1
    threads = settings.decode_threads or decode_threads(cores, on_gpu)
    # Before the encoder is loaded, because its engine takes torch's number of threads.
    torch.set_num_threads(max(1, cores - threads))
    embedder = await asyncio.to_thread(load_embedder, settings)
    settings = settings.model_copy(update={"decode_threads": threads})
    async with AsyncExitStack() as stack:
        pool = open_pool(settings, embedder.bundle)
        stack.callback(pool.close)
        batcher = Batcher(
            embedder,
            max_batch=batch,
            max_queue=callers * (threads + 2 * batch),
            queue_timeout_s=WAIT_S,
            gather_ms=GATHER_MS,
            prefetch=1 if on_gpu else 0,
            watchdog_s=WAIT_S,
        )
        stack.push_async_callback(batcher.close, 0.0)
        size = embedder.bundle.manifest.pixels.size
        await batcher.warm(np.zeros((size, size, 3), np.uint8))
        await pool.warm()
        pipeline = Pipeline(pool, batcher, embedder.template, Metrics(), threads)
        yield LocalEngine(embedder, pool, pipeline, threads, batch)


def origin_of(bundle: Bundle) -> VectorOrigin:
    """Describe the bundle that makes vectors, to write beside them."""
    return VectorOrigin(bundle.manifest.name, bundle.fingerprint, bundle.dimension)


def as_row(result: FileResult, root: Path) -> Row:
    """Return the row of a file: its vector, or why it was rejected."""
    name = result.file.relative_to(root).as_posix()
    outcome = result.outcome
    if isinstance(outcome, Probe):
        face = outcome.report
        return VectorRow(name, result.sha256, outcome.row.vector, face.box, face.score)
    return RejectedFile(name, outcome.code, outcome.sentence)
