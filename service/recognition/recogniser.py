"""Run one bundle: a decode pool and an encoder that turn photos into templates."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import numpy as np

from models.bundle import (
    BUILTIN_FOLDER,
    BUILTIN_NAMES,
    BuiltinName,
    Bundle,
    choose_bundle,
    installed_bundles,
    read_manifest,
)
from models.decision import Template
from models.embedder import Embedder, Row
from models.errors import InvalidBundle
from models.photo.quality_head import LearnedQuality
from service import __version__
from service.observe.metrics import Metrics
from service.pipeline.batcher import Batcher
from service.pipeline.decode import DecodePool
from service.pipeline.loading import load_bundle_of, load_embedder, open_batcher, open_pool
from service.pipeline.pipeline import Pipeline
from service.settings import Settings
from service.store import GalleryTemplate, Store


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Hold the parts of one bundle that photos pass through."""

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

    def template(self, stored: GalleryTemplate) -> Template:
        """Return a stored template of this bundle as a template to compare with."""
        return self.bundle.template(stored.vector, LearnedQuality.of_measures(stored.quality))

    def show(self, metrics: Metrics) -> None:
        """Show in the metrics what is loaded."""
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
    settings: Settings, metrics: Metrics, device_lost: asyncio.Event, because: str | None = None
) -> AsyncIterator[Recogniser]:
    """Load the bundle of the settings, warm it up, and close its parts in reverse.

    `device_lost` is set when only a new process can get the device back; `because` says why the
    bundle was chosen if the settings name none. Raises InvalidBundle.
    """
    async with AsyncExitStack() as stack:
        embedder = await asyncio.to_thread(load_embedder, settings, because)
        pool = open_pool(settings, embedder.bundle)
        stack.callback(pool.close)
        batcher = open_batcher(settings, embedder, metrics, device_lost)
        stack.push_async_callback(batcher.close, settings.drain_s)
        size = embedder.bundle.manifest.pixels.size
        await batcher.warm(np.zeros((size, size, 3), np.uint8))
        await pool.warm()
        pipeline = Pipeline(pool, batcher, embedder.template, metrics, settings.threads())
        yield Recogniser(embedder, pool, batcher, pipeline)


@dataclass(frozen=True, slots=True)
class BundleChoice:
    """Hold the bundle to serve, and why.

    The name is None for the bundle that is best for this machine.
    """

    name: str | None
    because: str | None = None


async def bundle_for(
    store: Store, settings: Settings, available: Sequence[BuiltinName] | None = None
) -> BundleChoice:
    """Choose the bundle that serves this gallery.

    If the settings name no bundle, a gallery keeps the bundle that made its templates: the one it
    was switched to last, or the one with the most templates. Raises InvalidBundle if that bundle
    is not built in or not `available`; by default, the installed bundles are available.
    """
    if settings.bundle is not None:
        return BundleChoice(settings.bundle)
    counts = await store.fingerprints()
    if not counts:
        return BundleChoice(None)
    builtin: dict[str | None, str] = {
        read_manifest(BUILTIN_FOLDER / name).fingerprint: name for name in BUILTIN_NAMES
    }
    if settings.weights is not None:
        # With weights of the operator, the same bundle has another fingerprint.
        own_weights = settings.model_copy(update={"bundle": choose_bundle(None)[0]})
        bundle = await asyncio.to_thread(load_bundle_of, own_weights)
        builtin[bundle.fingerprint] = choose_bundle(None)[0]
    candidates = {
        builtin[fingerprint]: count
        for fingerprint, count in counts.items()
        if fingerprint in builtin and builtin[fingerprint] != settings.next_bundle
    }
    if not candidates and not any(fingerprint in builtin for fingerprint in counts):
        raise InvalidBundle(
            "The gallery's templates were made by a bundle that is not built in "
            f"({', '.join(sorted(fingerprint[:12] for fingerprint in counts))}): set "
            "LIKENESS_BUNDLE to its folder."
        )
    if not candidates:
        return BundleChoice(None)
    switched = builtin.get(await store.switched_to() or "")
    name = switched if switched in candidates else max(candidates, key=lambda n: candidates[n])
    if name not in (installed_bundles() if available is None else available):
        raise InvalidBundle(
            f"The gallery's {candidates[name]:,} templates were made by the bundle `{name}`, which "
            "is an extra now: pip install dlib-bin face-recognition-models. Or set "
            f"LIKENESS_BUNDLE={choose_bundle(None)[0]} to begin with an empty gallery; the old "
            "templates stay, and requests for them are answered 409 until their subjects are "
            "enrolled again."
        )
    best, reason = choose_bundle(None)
    if name == best:
        return BundleChoice(None)
    return BundleChoice(
        name,
        f"the gallery's {candidates[name]:,} templates were made with it; `{best}` is better, "
        f"{reason}. `likeness reembed --to {best}` and `likeness switch --to {best}` bring the "
        "gallery over",
    )
