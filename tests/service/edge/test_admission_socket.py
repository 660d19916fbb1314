"""What only a real socket shows: a refused upload still reads its answer."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request

from service.api.needs import needs
from service.edge.admission import Admission, Gate
from service.edge.boundary import Boundary
from service.edge.disconnect import run_until_disconnect
from service.edge.problems import install
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.service.observe.test_metrics import value
from tests.service.serving import serving


def app_of(metrics: Metrics, started: asyncio.Event, cancelled: asyncio.Event) -> FastAPI:
    app, gate = FastAPI(), Gate(4, metrics)
    gate.open()
    install(app)
    app.add_middleware(
        Admission, gate=gate, settings=Settings(max_body_bytes=2**20), policies=[needs]
    )
    app.add_middleware(Boundary, metrics=metrics)

    @app.post("/embed")
    async def embed(request: Request) -> int:
        return len(await request.body())

    @app.post("/verify")
    async def verify(request: Request) -> None:
        async def forever() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await request.body()
        await run_until_disconnect(request, forever())

    return app


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 2**16


async def test_endless_upload_reads_its_refusal() -> None:
    metrics = Metrics()
    app = app_of(metrics, asyncio.Event(), asyncio.Event())
    async with serving(app, metrics) as url, httpx.AsyncClient(trust_env=False) as client:
        got = await client.post(f"{url}/embed", content=chunks(400))
    assert (got.status_code, got.json()["code"]) == (413, "body_too_large")


async def test_announced_upload_reads_its_refusal() -> None:
    metrics = Metrics()
    app = app_of(metrics, asyncio.Event(), asyncio.Event())
    async with serving(app, metrics) as url, httpx.AsyncClient(trust_env=False) as client:
        got = await client.post(f"{url}/embed", content=b"x" * 2**24)
    assert (got.status_code, got.json()["code"]) == (413, "body_too_large")


async def test_service_answers_after_a_refusal() -> None:
    metrics = Metrics()
    app = app_of(metrics, asyncio.Event(), asyncio.Event())
    async with serving(app, metrics) as url, httpx.AsyncClient(trust_env=False) as client:
        await client.post(f"{url}/embed", content=chunks(40))
        got = await client.post(f"{url}/embed", content=chunks(2))
    assert (got.status_code, got.json()) == (200, 2**17)


async def test_client_that_hangs_up_stops_its_work() -> None:
    metrics, started, cancelled = Metrics(), asyncio.Event(), asyncio.Event()
    async with serving(app_of(metrics, started, cancelled), metrics) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            request = asyncio.create_task(client.post(f"{url}/verify", content=b"x"))
            await started.wait()
            request.cancel()
            await asyncio.wait([request])
        await asyncio.wait_for(cancelled.wait(), 5)
    assert value(metrics, "likeness_requests_total", route="/verify", code="499") == 1
