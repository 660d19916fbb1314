"""The model card, the health checks and the metrics over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from models.errors import LikenessError
from service.errors import DecoderStalled, EncoderStopped, NotReady, StoreError
from service.observe.metrics import CONTENT_TYPE
from service.recognition.model_card import describe
from service.recognition.service import Service, ServiceDep
from service.schemas.admin import (
    Health,
    ModelAnswer,
)

router = APIRouter(tags=["service"])
T = TypeVar("T")
# Prometheus gives up after some seconds, and would get no metrics at all.
_STORE_S = 2.0


class SharedResult(Generic[T]):
    """Share the result of a costly call among all callers that wait for it.

    A caller gets the result of a call that began after it asked. Calls begin at least `apart_s`
    seconds apart, so that frequent requests do not cost more.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], apart_s: float) -> None:
        self._make = make
        self._apart_s = apart_s
        self._next: asyncio.Task[T] | None = None
        self._previous: asyncio.Task[T] | None = None
        self._not_before = 0.0

    async def get(self) -> T:
        """Return the result. Raises what the call raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        # Shielded: a caller that disconnects must not cancel the call for the others.
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        if self._previous is not None:
            await asyncio.wait([self._previous])
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before - loop.time())
        self._not_before = loop.time() + self._apart_s
        self._previous, self._next = self._next, None
        return await self._make()


@router.get("/model")
async def model(service: ServiceDep) -> ModelAnswer:
    """Show the model card: which bundle decides, how well, and what that was measured on."""
    return describe(service, await service.active())


@router.get("/livez")
async def livez(service: ServiceDep) -> Health:
    """Answer 200 if the event loop, the encoder and the decoders work, 503 otherwise."""
    if service.device_lost.is_set() or not all(each.batcher.alive for each in service.recognisers):
        raise EncoderStopped("The encoder does not answer.")
    if not all(each.pool.alive for each in service.recognisers):
        raise DecoderStalled("A photo blocks the decoder.")
    return Health()


@router.get("/readyz")
async def readyz(request: Request, service: ServiceDep) -> Health:
    """Answer 200 if requests can be served: warmed up, store reachable, not shutting down."""
    _check_ready(request.app, service)
    await service.store.ping()
    return Health(damaged=len(await request.app.state.damage.get()))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format, also while the store is unavailable."""
    return Response(await request.app.state.metrics_page.get(), media_type=CONTENT_TYPE)


async def metrics_page(app: FastAPI) -> bytes:
    """Return the metrics as they are now, in Prometheus' text format."""
    service: Service = app.state.service
    try:
        async with asyncio.timeout(_STORE_S):
            await service.store.ping()
            templates: int | None = (await service.store.count()).templates
            service.metrics.damaged(len(await service.store.damage()))
    except (StoreError, TimeoutError):
        templates = None
    service.metrics.store_up(templates)
    try:
        _check_ready(app, service)
        service.metrics.ready(templates is not None)
    except LikenessError:
        service.metrics.ready(False)
    return service.metrics.render()


def _check_ready(app: FastAPI, service: Service) -> None:
    app.state.gate.check_ready()
    if not all(each.batcher.ready and each.pool.alive for each in service.recognisers):
        raise NotReady("The encoder or a decoder cannot take work now.")
