"""The parts of a running service: opened in order, closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from models.bundle import Bundle, check_source
from service.errors import InvalidSettings
from service.observe.metrics import Metrics
from service.pipeline.decode import Caller
from service.recognition.liveness import LivenessCheck, open_liveness
from service.recognition.matcher import Matcher
from service.recognition.recogniser import Recogniser, bundle_for, open_recogniser
from service.recognition.shadow import Shadow, open_shadow
from service.recognition.sweep import sweep_forever
from service.settings import Settings
from service.store import Store, Vault, open_store
from service.store.master_keys import open_vault
from service.store.timed import timed_store


@dataclass(frozen=True, slots=True)
class Service:
    """Hold what the routes need; there is one per app."""

    settings: Settings
    first: Recogniser
    """Runs the bundle that the settings name."""
    next: Recogniser | None
    """Runs the bundle that is to take over; None if no change of bundle is under way."""
    store: Store
    vault: Vault
    liveness: LivenessCheck
    metrics: Metrics
    shadow: Shadow | None
    """Repeats decisions by the other bundle; None unless the settings ask for it."""
    device_lost: asyncio.Event
    """Set when only a new process can get the device back."""

    @property
    def recognisers(self) -> tuple[Recogniser, ...]:
        """Return one recogniser, or two during a change of bundle; an enrolment uses all."""
        return (self.first,) if self.next is None else (self.first, self.next)

    def caller(self) -> Caller:
        """Return the limits of a request that has been read; its time starts now."""
        return Caller.of(self.settings)

    def matcher(self, recogniser: Recogniser) -> Matcher:
        """Return the matcher of one of the bundles."""
        return Matcher(recogniser, self.store, self.metrics, self.settings.face_policy)

    async def active(self) -> Recogniser:
        """Return the recogniser that decides now.

        With two bundles, the store is asked for every request, so that all replicas switch at
        the same moment.
        """
        if self.next is None:
            return self.first
        fingerprint = await self.store.switched_to()
        return self.next if fingerprint == self.next.fingerprint else self.first


async def service_of(request: Request) -> Service:
    """Return the service of the app that serves this request.

    It is async, although it never waits, because FastAPI would run a plain function in a thread.
    """
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


ServiceDep = Annotated[Service, Depends(service_of)]


def _check_point(settings: Settings, bundle: Bundle) -> None:
    """Raise InvalidSettings if a bundle lacks the operating point that the settings name."""
    names = [point.name for point in bundle.operating_points]
    if settings.operating_point is not None and settings.operating_point not in names:
        raise InvalidSettings(
            f"LIKENESS_OPERATING_POINT names {settings.operating_point}; the bundle "
            f"{bundle.manifest.name} has {', '.join(names) or 'none'}."
        )


@asynccontextmanager
async def open_service(settings: Settings, metrics: Metrics) -> AsyncIterator[Service]:
    """Open store, bundle, pool and batcher, warm them up, and close them in reverse.

    Raises InvalidSettings, InvalidBundle, StoreUnavailable and StoreInUse.
    """
    device_lost = asyncio.Event()
    for source in (settings.bundle, settings.next_bundle):
        if source is not None:
            check_source(source)  # fails early, before anything slow
    async with AsyncExitStack() as stack:
        # In a thread: the master keys may come from a command, which can be slow.
        vault = await asyncio.to_thread(open_vault, settings)
        store = timed_store(await open_store(settings.store, vault=vault), metrics)
        stack.push_async_callback(store.close)
        chosen = await bundle_for(store, settings)
        first = await stack.enter_async_context(
            open_recogniser(
                settings.model_copy(update={"bundle": chosen.name}),
                metrics,
                device_lost,
                chosen.because,
            )
        )
        second = None
        if settings.next_bundle is not None:
            other_settings = settings.model_copy(update={"bundle": settings.next_bundle})
            second = await stack.enter_async_context(
                open_recogniser(other_settings, metrics, device_lost)
            )
            if second.fingerprint == first.fingerprint:
                raise InvalidSettings(
                    "The bundle that is to take over (--to, --bundle or LIKENESS_NEXT_BUNDLE) is "
                    "the one that is served now; name another one."
                )
        for recogniser in (first, second):
            if recogniser is not None:
                bundle = recogniser.bundle
                _check_point(settings, bundle)
                await store.compare_by(bundle.fingerprint, bundle.cohort, bundle.dimension)
        liveness = await stack.enter_async_context(open_liveness(settings, metrics))
        sampler = asyncio.create_task(metrics.sample_loop_lag())
        stack.callback(sampler.cancel)
        sweeper = asyncio.create_task(sweep_forever(store, settings.sweep_s, metrics))
        stack.callback(sweeper.cancel)
        shadow = await stack.enter_async_context(
            open_shadow(first, second, store, settings, metrics)
        )
        service = Service(
            settings=settings,
            first=first,
            next=second,
            store=store,
            vault=vault,
            liveness=liveness,
            metrics=metrics,
            shadow=shadow,
            device_lost=device_lost,
        )
        for recogniser in service.recognisers:
            recogniser.show(metrics)
        yield service
