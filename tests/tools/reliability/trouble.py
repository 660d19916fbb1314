"""Run a real server in which another process can cause faults."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext

import torch
from torch import Tensor

from models.encoder.encoder import Engine
from models.photo.detectors import NoDetector
from models.photo.face import Face
from models.photo.image import Limits, Pixels
from service.app import create_app
from service.edge.keys import KeyRing
from service.edge.server import serve
from service.pipeline.decode import CropSettings, DecodePool
from service.pipeline.pipeline import Pipeline
from service.recognition.service import Service
from service.settings import load_settings
from service.store import open_store

_ANY = 1 << 30


class Trouble:
    """Hold the faults of a server; the server and the process that causes them share it.

    `fits` is the number of crops that a forward pass has memory for. Encoder and detector hang
    while `encoder_free` or `detector_free` is not set, and can be told to end their thread.
    `clock_s` is the error of the store's clock in seconds.
    """

    def __init__(self, context: ForkServerContext) -> None:
        self.fits = context.Value("i", _ANY)
        self.clock_s = context.Value("d", 0.0)
        self.encoder_free, self.detector_free = context.Event(), context.Event()
        self.encoder_ends, self.detector_ends = context.Event(), context.Event()
        self.end()

    def end(self) -> None:
        """End all faults."""
        self.fits.value = _ANY
        self.clock_s.value = 0.0
        self.encoder_free.set()
        self.detector_free.set()
        self.encoder_ends.clear()
        self.detector_ends.clear()


class TroubledEngine:
    """Run another engine, with the faults that are set."""

    def __init__(self, engine: Engine, trouble: Trouble) -> None:
        self.name = engine.name
        self._engine = engine
        self._trouble = trouble

    def __call__(self, crops: Tensor) -> Tensor:
        if self._trouble.encoder_ends.is_set():
            raise SystemExit
        self._trouble.encoder_free.wait()
        if len(crops) > self._trouble.fits.value:
            raise torch.OutOfMemoryError("There is no memory for it.")
        return self._engine(crops)


class TroubledDetector(NoDetector):
    """Take the whole image as the face, with the faults that are set."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        if self._trouble.detector_ends.is_set():
            raise SystemExit
        self._trouble.detector_free.wait()
        return super().detect(pixels, at_least)


def serve_troubled(trouble: Trouble) -> None:
    """Serve as `likeness serve` does; print `listening` when faults can be caused."""
    settings = load_settings(port=0)
    app = create_app(settings)
    begun: list[asyncio.Task[None]] = []

    async def take_over(url: str) -> None:
        app.state.service = service = await _troubled(app.state.service, trouble)
        app.state.store, app.state.keys = service.store, KeyRing(service.store)
        print(f"listening {url}")

    async def announce(url: str) -> Callable[[], None]:
        return lambda: begun.append(asyncio.ensure_future(take_over(url)))

    asyncio.run(serve(app, settings, announce))


async def _troubled(service: Service, trouble: Trouble) -> Service:
    """Replace the parts that can fail; everything else is the real service."""

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=trouble.clock_s.value)

    settings, first = service.settings, service.first
    first.embedder.engine = TroubledEngine(first.embedder.engine, trouble)
    pool = DecodePool(
        CropSettings(Limits(), first.bundle.manifest.pixels.framing, settings.min_face_px),
        lambda: TroubledDetector(trouble),
        settings.threads(),
        settings.watchdog_s,
    )
    await pool.warm()
    pipeline = Pipeline(
        pool, first.batcher, first.embedder.template, service.metrics, settings.threads()
    )
    await service.store.close()
    store = await open_store(settings.store, clock)
    return replace(
        service,
        first=replace(first, pool=pool, pipeline=pipeline),
        store=store,
    )
