import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.needs import needs
from service.edge.admission import Admission, Gate
from service.edge.boundary import Boundary
from service.edge.disconnect import run_until_disconnect
from service.edge.problems import install
from service.errors import TooManyRequests
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.service.asgi_client import Client
from tests.service.observe.test_metrics import value
from tests.service.serving import serving


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def open_gate(permits: int = 2) -> Gate:
    gate = Gate(permits, Metrics())
    gate.open()
    return gate


def admit(app: ASGIApp, gate: Gate, settings: Settings | None = None) -> Admission:
    return Admission(app, gate, settings or Settings(max_body_bytes=1024), [needs])


async def test_request_passes() -> None:
    client = Client()
    client.body(b"x" * 1024)
    await client.run(admit(reads_all, open_gate()))
    assert client.status == 200


async def test_permit_is_given_back_after_an_answer() -> None:
    gate, client = open_gate(), Client()
    client.body(b"x")
    await client.run(admit(reads_all, gate))
    assert gate.inflight == 0


async def test_permit_is_given_back_after_a_failure() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    gate = open_gate()
    with pytest.raises(RuntimeError):
        await Client().run(admit(fails, gate))
    assert gate.inflight == 0


async def test_permit_is_given_back_after_cancellation() -> None:
    gate, client = open_gate(), Client()
    task = asyncio.create_task(client.run(admit(reads_all, gate)))
    await client.was_read()
    task.cancel()
    await asyncio.wait([task])
    assert gate.inflight == 0


async def test_full_service_refuses_without_reading() -> None:
    gate, client = open_gate(permits=1), Client()
    with gate.permit():
        await client.run(admit(reads_all, gate))
    assert (client.status, client.code, client.reads) == (429, "too_many_requests", 0)


async def test_refusal_says_when_to_come_back() -> None:
    gate, client = open_gate(permits=1), Client()
    with gate.permit():
        await client.run(admit(reads_all, gate))
    assert client.answered_headers["retry-after"] == "1"


async def test_refused_permit_is_not_counted() -> None:
    gate = open_gate(permits=1)
    with gate.permit(), pytest.raises(TooManyRequests), gate.permit():
        pass
    assert gate.inflight == 0


@pytest.mark.parametrize(("method", "path"), [("GET", "/subjects"), ("POST", "/livez")])
async def test_requests_without_images_need_no_permit(method: str, path: str) -> None:
    gate, client = open_gate(permits=1), Client(method, path)
    client.body(b"")
    with gate.permit():
        await client.run(admit(reads_all, gate))
    assert client.status == 200


async def test_starting_service_is_not_ready() -> None:
    client = Client()
    await client.run(admit(reads_all, Gate(1, Metrics())))
    assert (client.status, client.code) == (503, "not_ready")


async def test_draining_service_refuses() -> None:
    gate, client = open_gate(), Client()
    gate.drain()
    await client.run(admit(reads_all, gate))
    assert (client.status, client.code) == (503, "draining")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_are_served_while_draining(path: str) -> None:
    gate, client = open_gate(), Client("GET", path)
    gate.drain()
    client.body(b"")
    await client.run(admit(reads_all, gate))
    assert client.status == 200


async def test_announced_body_is_refused_before_reading() -> None:
    client = Client(headers={"content-length": "1025"})
    client.hang_up()
    await client.run(admit(reads_all, open_gate()))
    assert (client.status, client.code) == (413, "body_too_large")


async def test_body_that_was_not_announced_is_counted_while_reading() -> None:
    client = Client(headers={"transfer-encoding": "chunked"})
    for _ in range(3):
        client.body(b"x" * 512, more=True)
    client.hang_up()
    await client.run(admit(reads_all, open_gate()))
    assert (client.status, client.code) == (413, "body_too_large")


async def test_body_that_lies_about_its_length_is_counted_too() -> None:
    client = Client(headers={"content-length": "10"})
    client.body(b"x" * 2048, more=True)
    client.hang_up()
    await client.run(admit(reads_all, open_gate()))
    assert client.code == "body_too_large"


async def test_connection_of_a_client_that_sends_too_much_is_closed() -> None:
    client = Client(headers={"content-length": "1025"})
    client.hang_up()
    await client.run(admit(reads_all, open_gate()))
    assert client.answered_headers["connection"] == "close"


async def test_rest_of_a_body_too_large_is_read_before_closing() -> None:
    client = Client(headers={"content-length": "9999"})
    client.body(b"x" * 9000, more=True)
    client.body(b"x" * 999)
    await client.run(admit(reads_all, open_gate()))
    assert (client.reads, client.got[-1]["more_body"]) == (2, False)


async def test_connection_is_kept_after_a_chunked_body_was_read() -> None:
    client = Client(headers={"transfer-encoding": "chunked"})
    client.body(b"x")
    await client.run(admit(reads_all, open_gate()))
    assert "connection" not in client.answered_headers


async def test_body_that_stops_arriving_times_out() -> None:
    client = Client()
    client.body(b"x", more=True)
    task = asyncio.create_task(
        client.run(admit(reads_all, open_gate(), Settings(body_timeout_s=0.01)))
    )
    await client.was_read(3)  # the third is the polite wait before closing
    client.hang_up()
    await task
    assert (client.status, client.code) == (408, "body_timeout")


async def test_time_after_the_body_is_not_counted_against_it() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        await request.receive()
        await PlainTextResponse("")(scope, receive, send)

    client = Client()
    client.body(b"x")
    task = asyncio.create_task(client.run(admit(waits, open_gate(), Settings(body_timeout_s=0.01))))
    await asyncio.wait([task], timeout=0.05)
    client.hang_up()
    await task
    assert client.status == 200


async def test_other_protocols_pass() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    client = Client()
    await admit(app, Gate(1, Metrics()))({"type": "lifespan"}, client.receive, client.send)
    assert seen == ["lifespan"]


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
