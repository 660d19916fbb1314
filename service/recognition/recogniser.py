"""One bundle made ready to turn photos into templates: threads that decode, and an encoder."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import numpy as np
import torch

from models.bundle import (
    BUILTIN_FOLDER,
    BUILTIN_NAMES,
    BuiltinName,
    Bundle,
    choose_bundle,
    installed_bundles,
    load_bundle,
    read_manifest,
)
from models.decision import Template
from models.embedder import Embedder, Row
from models.encoder.device import choose_precision
from models.encoder.engine import device_for
from models.errors import InvalidBundle
from models.photo.image import Limits
from models.photo.quality_head import LearnedQuality
from service import __version__
from service.observe.metrics import Metrics, QueueMetrics
from service.pipeline.batcher import Batcher
from service.pipeline.decode import DecodePool, Preparation
from service.pipeline.pipeline import Pipeline
from service.settings import Settings
from service.store import GalleryTemplate, Store

logger = logging.getLogger("likeness")


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

    def template(self, held: GalleryTemplate) -> Template:
        """Return what a probe is compared with, of a template of this bundle's that is stored."""
        return self.bundle.template(held.vector, LearnedQuality.of_measures(held.quality))

    def show(self, metrics: Metrics) -> None:
        """Let the metrics say what is loaded."""
        metrics.loaded(
            version=__version__,
            bundle=self.bundle.manifest.name,
            fingerprint=self.fingerprint[:12],
            device=str(self.embedder.device),
            engine=self.embedder.engine.name,
            precision=self.embedder.precision,
        )


@asynccontextmanager
async def open_recogniser(
    settings: Settings, metrics: Metrics, lost: asyncio.Event, because: str | None = None
) -> AsyncIterator[Recogniser]:
    """Load the bundle of the settings, warm it, and close its parts in reverse.

    `lost` is set when the device is gone for good; `because` says why the bundle was chosen, if
    the settings do not name it. Raises InvalidBundle.
    """
    async with AsyncExitStack() as stack:
        embedder = await asyncio.to_thread(load_embedder, settings, because)
        pool = open_pool(settings, embedder.bundle)
        stack.callback(pool.close)
        batcher = open_batcher(settings, embedder, metrics, lost)
        stack.push_async_callback(batcher.close, settings.drain_s)
        size = embedder.bundle.manifest.pixels.size
        await batcher.warm(np.zeros((size, size, 3), np.uint8))
        await pool.warm()
        pipeline = Pipeline(pool, batcher, embedder.template, metrics, settings.threads())
        yield Recogniser(embedder, pool, batcher, pipeline)


@dataclass(frozen=True, slots=True)
class BundleChoice:
    """Hold the bundle to serve and why; None for either means that nothing special applies."""

    name: str | None
    because: str | None = None


async def bundle_for(
    store: Store, settings: Settings, available: Sequence[BuiltinName] | None = None
) -> BundleChoice:
    """Choose the bundle that serves this gallery.

    Where the settings name no bundle, a gallery keeps the one that made it: the one that was
    switched to last, or else the one with the most templates. Raises InvalidBundle if that is
    no built-in bundle, or is not `available`, which is what is installed unless told.
    """
    if settings.bundle is not None:
        return BundleChoice(settings.bundle)
    made = await store.fingerprints()
    if not made:
        return BundleChoice(None)
    known: dict[str | None, str] = {
        read_manifest(BUILTIN_FOLDER / name).fingerprint: name for name in BUILTIN_NAMES
    }
    if settings.weights is not None:
        # Weights of the operator's own give the same bundle another fingerprint.
        named = settings.model_copy(update={"bundle": choose_bundle(None)[0]})
        bundle = await asyncio.to_thread(load_bundle_of, named)
        known[bundle.fingerprint] = choose_bundle(None)[0]
    candidates = {
        known[fingerprint]: count
        for fingerprint, count in made.items()
        if fingerprint in known and known[fingerprint] != settings.next_bundle
    }
    if not candidates and not any(fingerprint in known for fingerprint in made):
        raise InvalidBundle(
            f"The gallery's templates were made by a bundle that is not built in "
            f"({', '.join(sorted(each[:12] for each in made))}): set LIKENESS_BUNDLE to its folder."
        )
    if not candidates:
        return BundleChoice(None)
    switched = known.get(await store.switched_to() or "")
    name = switched if switched in candidates else max(candidates, key=lambda n: candidates[n])
    if name not in (installed_bundles() if available is None else available):
        raise InvalidBundle(
            f"The gallery's {candidates[name]:,} templates were made by the bundle `{name}`, which "
            "is an extra now: pip install dlib-bin face-recognition-models. Or set "
            f"LIKENESS_BUNDLE={choose_bundle(None)[0]} to begin with an empty gallery; the old "
            "templates stay, and answer 409 until their subjects are enrolled again."
        )
    best, reason = choose_bundle(None)
    if name == best:
        return BundleChoice(None)
    return BundleChoice(
        name,
        f"the gallery's {candidates[name]:,} templates were made with it; `{best}` is better: "
        f"{reason}. `likeness reembed --to {best}` and `likeness switch --to {best}` bring the "
        "gallery over",
    )


def load_embedder(settings: Settings, because: str | None = None) -> Embedder:
    """Load the bundle on the device and at the precision that the settings lead to.

    Raises InvalidBundle, also if it gives no vectors, or tells nothing apart.
    """
    bundle = load_bundle_of(settings, because)
    device = device_for(bundle.encoder, settings.device)
    if device.type == "cpu" and settings.device == "auto" and torch.cuda.is_available():
        logger.warning(
            "`%s` runs on the CPU: to use the GPU, pip install onnxruntime-gpu.",
            bundle.manifest.name,
        )
    precision = choose_precision(device, settings.precision)
    embedder = Embedder(bundle, device, precision, settings.engine)
    embedder.check()
    return embedder


def load_bundle_of(settings: Settings, because: str | None = None) -> Bundle:
    """Load the bundle of the settings, with the detector and the weights that they name."""
    return load_bundle(
        settings.bundle,
        weights=settings.weights,
        detector=settings.detector,
        yunet_path=settings.yunet_path,
        because=because,
    )


def open_pool(settings: Settings, bundle: Bundle) -> DecodePool:
    """Start the threads that turn bytes into crops."""
    preparation = Preparation(
        Limits(settings.max_bytes, settings.max_pixels),
        bundle.manifest.pixels.framing,
        settings.min_face_px,
    )
    return DecodePool(preparation, bundle.detector.open, settings.threads(), settings.watchdog_s)


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
