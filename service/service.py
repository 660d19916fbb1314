"""The opened parts of one running service, opened in order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import Depends, Request

from models.bundle import Bundle, load_bundle
from models.detectors import open_detector
from models.device import choose_device, choose_precision
from models.embedder import Embedder, Row
from models.face import Detector
from models.image import Limits
from service.batcher import Batcher
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.prepare import DecodePool, Preparation
from service.settings import Settings
from service.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Service:
    """Hold what routes need; one per app."""

    settings: Settings
    embedder: Embedder
    batcher: Batcher[Row]
    pipeline: Pipeline
    store: Store
    metrics: Metrics
    lost: asyncio.Event
    """Set when the device is gone for good: the process must end and be started afresh."""

    @property
    def bundle(self) -> Bundle:
        return self.embedder.bundle


async def service_of(request: Request) -> Service:
    """Return the service of the app that serves this request.

    It waits for nothing; but what is not async, FastAPI runs in a thread for every request.
    """
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Running = Annotated[Service, Depends(service_of)]


@asynccontextmanager
async def open_service(settings: Settings, metrics: Metrics) -> AsyncIterator[Service]:
    """Open store, bundle, pool and batcher, warm them, and close them in reverse.

    Raises InvalidBundle, StoreUnavailable and StoreInUse: a service that cannot serve does
    not start.
    """
    lost = asyncio.Event()
    async with AsyncExitStack() as stack:
        store = await open_store(settings.store)
        stack.push_async_callback(store.close)
        embedder = await asyncio.to_thread(load_embedder, settings)
        pool = open_pool(settings, embedder.bundle)
        stack.callback(pool.close)
        batcher = open_batcher(settings, embedder, metrics, lost)
        stack.push_async_callback(batcher.close, settings.drain_s)
        size = embedder.bundle.manifest.pixels.size
        await batcher.warm(np.zeros((size, size, 3), np.uint8))
        await pool.warm()
        sampler = asyncio.create_task(metrics.sample_loop_lag())
        stack.callback(sampler.cancel)
        pipeline = Pipeline(pool, batcher, embedder.bundle.fingerprint, metrics, settings.threads())
        yield Service(settings, embedder, batcher, pipeline, store, metrics, lost)


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
    return DecodePool(preparation, detector, settings.threads())


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
        observer=metrics,
        on_fatal=lost.set,
    )
