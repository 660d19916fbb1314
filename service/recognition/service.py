"""The opened parts of one running service, opened in order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from models.bundle import check_source
from service.edge.keys import KeyRing
from service.errors import InvalidSettings
from service.observe.metrics import Metrics
from service.pipeline.caller import Caller
from service.recognition.compare import Comparing
from service.recognition.liveness import LivenessCheck, open_liveness
from service.recognition.recogniser import Recogniser, bundle_for, open_recogniser
from service.recognition.shadow import Shadow, open_shadow
from service.recognition.sweep import sweep_forever
from service.settings import Settings
from service.store import Store, open_store
from service.store.master_keys import open_vault
from service.store.timed import timed_store


@dataclass(frozen=True, slots=True)
class Service:
    """Hold what routes need; one per app."""

    settings: Settings
    first: Recogniser
    """Of the bundle that the settings name."""
    next: Recogniser | None
    """Of the bundle that is to take over, if one is."""
    store: Store
    keys: KeyRing
    liveness: LivenessCheck
    metrics: Metrics
    shadow: Shadow | None
    """Decides by the other bundle too, where the settings say so."""
    lost: asyncio.Event
    """Set when the device is gone for good: the process must end and be started afresh."""

    @property
    def recognisers(self) -> tuple[Recogniser, ...]:
        """Return one, or two during a change of bundle; every enrolment goes through all."""
        return (self.first,) if self.next is None else (self.first, self.next)

    def caller(self) -> Caller:
        """Return what a request that has been read may take, from now on."""
        return Caller.of(self.settings)

    def comparing(self, recogniser: Recogniser) -> Comparing:
        """Return what compares photos with the gallery by one of the bundles."""
        return Comparing(recogniser, self.store, self.metrics, self.settings.face_policy)

    async def serving(self) -> Recogniser:
        """Return which one decides now.

        Where there is a choice the store is asked, each time: so all replicas switch at once.
        """
        if self.next is None:
            return self.first
        chosen = await self.store.switched_to()
        return self.next if chosen == self.next.fingerprint else self.first


async def service_of(request: Request) -> Service:
    """Return the service of the app that serves this request.

    It waits for nothing; but what is not async, FastAPI runs in a thread for every request.
    """
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Running = Annotated[Service, Depends(service_of)]


def _check_point(settings: Settings, recogniser: Recogniser) -> None:
    """Raise InvalidSettings if a bundle lacks the operating point that the settings name."""
    names = [point.name for point in recogniser.bundle.operating_points]
    if settings.operating_point is not None and settings.operating_point not in names:
        raise InvalidSettings(
            f"LIKENESS_OPERATING_POINT names {settings.operating_point}; the bundle "
            f"{recogniser.bundle.manifest.name} has {', '.join(names) or 'none'}."
        )


@asynccontextmanager
async def open_service(settings: Settings, metrics: Metrics) -> AsyncIterator[Service]:
    """Open store, bundle, pool and batcher, warm them, and close them in reverse.

    Raises InvalidBundle, StoreUnavailable and StoreInUse: a service that cannot serve does
    not start.
    """
    lost = asyncio.Event()
    for named in (settings.bundle, settings.next_bundle):
        if named is not None:
            check_source(named)  # before anything that takes long
    async with AsyncExitStack() as stack:
        # A command may print the master keys, and take its time.
        vault = await asyncio.to_thread(open_vault, settings)
        store = timed_store(await open_store(settings.store, vault=vault), metrics)
        stack.push_async_callback(store.close)
        chosen = await bundle_for(store, settings)
        first = await stack.enter_async_context(
            open_recogniser(
                settings.model_copy(update={"bundle": chosen.name}), metrics, lost, chosen.because
            )
        )
        second = None
        if settings.next_bundle is not None:
            others = settings.model_copy(update={"bundle": settings.next_bundle})
            second = await stack.enter_async_context(open_recogniser(others, metrics, lost))
            if second.fingerprint == first.fingerprint:
                raise InvalidSettings(
                    "The bundle that is to take over (--to, --bundle or LIKENESS_NEXT_BUNDLE) is "
                    "served already; name another one."
                )
        for each in (first, second):
            if each is not None:
                _check_point(settings, each)
                await store.compare_by(each.fingerprint, each.bundle.cohort, each.bundle.dimension)
        liveness = await stack.enter_async_context(open_liveness(settings, metrics))
        sampler = asyncio.create_task(metrics.sample_loop_lag())
        stack.callback(sampler.cancel)
        sweeper = asyncio.create_task(sweep_forever(store, settings.sweep_s, metrics))
        stack.callback(sweeper.cancel)
        shadow = await stack.enter_async_context(
            open_shadow(first, second, store, settings, metrics)
        )
        service = Service(
            settings, first, second, store, KeyRing(store, vault), liveness, metrics, shadow, lost
        )
        for each in service.recognisers:
            each.show(metrics)
        yield service
