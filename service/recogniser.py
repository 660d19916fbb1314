"""One bundle made ready to turn photos into templates: threads that decode, and an encoder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np

from models.bundle import Bundle, load_bundle
from models.detectors import open_detector
from models.embedder import Embedder, Row
from models.encoder.device import choose_device, choose_precision
from models.face import Detector
from models.image import Limits
from service.batcher import Batcher
from service.metrics import Metrics, QueueMetrics
from service.pipeline import Pipeline
from service.prepare import DecodePool, Preparation
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Hold what photos go through for one bundle."""

    embedder: Embedder
    pool: DecodePool
    batcher: Batcher[Row]
    pipeline: Pipeline

    @property
    def bundle(self) -> Bundle:
        return self.embedder.bundle

    @property
    def fingerprint(self) -> str:
        return self.bundle.fingerprint

    def show(self, metrics: Metrics) -> None:
        """Let the metrics say what is loaded."""
        metrics.loaded(
            version=version("likeness"),
            bundle=self.bundle.manifest.name,
            fingerprint=self.fingerprint[:12],
            device=str(self.embedder.device),
            engine=self.embedder.engine.name,
            precision=self.embedder.precision,
        )


@asynccontextmanager
async def open_recogniser(
    settings: Settings, metrics: Metrics, lost: asyncio.Event
) -> AsyncIterator[Recogniser]:
    """Load the bundle of the settings, warm it, and close its parts in reverse.

    `lost` is set when the device is gone for good. Raises InvalidBundle.
    """
    async with AsyncExitStack() as stack:
        embedder = await asyncio.to_thread(load_embedder, settings)
        pool = open_pool(settings, embedder.bundle)
        stack.callback(pool.close)
        batcher = open_batcher(settings, embedder, metrics, lost)
        stack.push_async_callback(batcher.close, settings.drain_s)
        size = embedder.bundle.manifest.pixels.size
        await batcher.warm(np.zeros((size, size, 3), np.uint8))
        await pool.warm()
        pipeline = Pipeline(pool, batcher, embedder.bundle.fingerprint, metrics, settings.threads())
        yield Recogniser(embedder, pool, batcher, pipeline)


def load_embedder(settings: Settings) -> Embedder:
    """Load the bundle on the device and at the precision that the settings lead to."""
    device = choose_device(settings.device)
    precision = choose_precision(device, settings.precision)
    return Embedder(load_bundle(settings.bundle), device, precision, settings.engine)


def open_pool(settings: Settings, bundle: Bundle) -> DecodePool:
    """Start the threads that turn bytes into crops."""
    preparation = Preparation(
        Limits(settings.max_bytes, settings.max_pixels),
        bundle.manifest.pixels,
        settings.min_face_px,
    )
    detector = partial[Detector](open_detector, settings.detector, settings.yunet_path)
    return DecodePool(preparation, detector, settings.threads(), settings.watchdog_s)


def open_batcher(
    settings: Settings, embedder: Embedder, metrics: Metrics, lost: asyncio.Event
) -> Batcher[Row]:
    """Start the encoder's thread and its queue."""
    on_gpu = embedder.device.type == "cuda"
    return Batcher(
        embedder,
        max_batch=settings.batch_limit(on_gpu),
        max_queue=settings.queue_limit(on_gpu),
        queue_timeout_s=settings.queue_timeout_s,
        gather_ms=settings.gather_ms,
        prefetch=1 if on_gpu else 0,
        watchdog_s=settings.watchdog_s,
        observer=QueueMetrics(metrics),
        on_fatal=lost.set,
    )
