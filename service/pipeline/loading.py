"""Load what the pipeline runs on: the bundle, its embedder, the decode pool and the batcher."""

import asyncio
import logging

import torch

from models.bundle import Bundle, load_bundle
from models.embedder import Embedder, Row
from models.encoder.device import choose_precision
from models.encoder.engine import device_for
from models.photo.image import Limits
from service.observe.metrics import Metrics, QueueMetrics
from service.pipeline.batcher import Batcher
from service.pipeline.decode import CropSettings, DecodePool
from service.settings import Settings

logger = logging.getLogger("likeness")


def load_bundle_of(settings: Settings, because: str | None = None) -> Bundle:
    """Load the bundle of the settings, with the detector and the weights that they name.

    `because` says why this bundle was chosen if the settings name none. Raises InvalidBundle.
    """
    return load_bundle(
        settings.bundle,
        weights=settings.weights,
        detector=settings.detector,
        yunet_path=settings.yunet_path,
        because=because,
    )


def load_embedder(settings: Settings, because: str | None = None) -> Embedder:
    """Load the bundle on the device and at the precision that the settings lead to.

    Raises InvalidBundle, also if the bundle gives no usable vectors.
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


def open_pool(settings: Settings, bundle: Bundle) -> DecodePool:
    """Start the threads that turn bytes into crops."""
    preparation = CropSettings(
        Limits(settings.max_bytes, settings.max_pixels),
        bundle.manifest.pixels.framing,
        settings.min_face_px,
    )
    return DecodePool(preparation, bundle.detector.open, settings.threads(), settings.watchdog_s)


def open_batcher(
    settings: Settings, embedder: Embedder, metrics: Metrics, device_lost: asyncio.Event
) -> Batcher[Row]:
    """Start the encoder's thread and its queue.

    The batcher sets `device_lost` when only a new process can get the device back.
    """
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
        on_fatal=device_lost.set,
    )
