"""What is served and how it is: the model card, the probes and the metrics."""

import asyncio

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
# Whoever collects metrics gives up after some seconds, and would have none at all.
_STORE_S = 2.0


@router.get("/model")
async def model(service: ServiceDep) -> ModelAnswer:
    """Show the model card: what decides here, how well, measured on what."""
    return describe(service, await service.active())


@router.get("/livez")
async def livez(service: ServiceDep) -> Health:
    """Answer 200 while the event loop, the encoder and the decoders work, 503 otherwise."""
    if service.device_lost.is_set() or not all(each.batcher.alive for each in service.recognisers):
        raise EncoderStopped("The encoder does not answer.")
    if not all(each.pool.alive for each in service.recognisers):
        raise DecoderStalled("A photo hangs in the decoder.")
    return Health()


@router.get("/readyz")
async def readyz(request: Request, service: ServiceDep) -> Health:
    """Answer 200 while requests can be served: warm, store reachable, not shutting down."""
    _check_ready(request.app, service)
    await service.store.ping()
    return Health(damaged=len(await request.app.state.damage.get()))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give the metrics in Prometheus' text format; also, and above all, while something is away."""
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
