import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from service.api.needs import OPEN_PATHS, PHOTO_PATHS, needs
from service.edge.admission import Admission, Gate
from service.edge.boundary import Boundary
from service.edge.problems import install
from service.errors import ClientGone
from service.observe.logs import TextFormatter
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.in_process import client_of
from tests.service.asgi_client import Client
from tests.service.observe.test_metrics import value


def app_and_metrics() -> tuple[FastAPI, Metrics, Gate]:
    app, router, metrics = FastAPI(), APIRouter(), Metrics()
    gate = Gate(1, metrics)
    gate.open()
    install(app)
    app.add_middleware(Admission, gate=gate, settings=Settings(), policies=[needs])
    app.add_middleware(Boundary, metrics=metrics, open_paths=OPEN_PATHS, photo_paths=PHOTO_PATHS)

    @router.get("/subjects/{subject}")
    async def subject(subject: str) -> str:
        return subject

    @router.post("/verify")
    async def verify(request: Request) -> int:
        return len(await request.body())

    @router.post("/embed")
    async def embed() -> None:
        raise ClientGone("gone")

    @router.get("/fails")
    async def fails() -> None:
        raise RuntimeError("secret")

    app.include_router(router)
    return app, metrics, gate


@contextmanager
def written() -> Iterator[StringIO]:
    """Give what is logged meanwhile."""
    log, handler = StringIO(), logging.StreamHandler()
    handler.setStream(log)
    handler.setFormatter(TextFormatter())
    ours = logging.getLogger("likeness")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield log
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


async def get(path: str, headers: dict[str, str] | None = None) -> tuple[httpx.Response, Metrics]:
    app, metrics, _ = app_and_metrics()
    async with client_of(app) as client:
        return await client.get(path, headers=headers), metrics


async def test_every_answer_has_a_request_id() -> None:
    got, _ = await get("/nothing")
    assert got.json()["request_id"] == got.headers["x-request-id"]


async def test_request_id_of_the_caller_is_kept() -> None:
    got, _ = await get("/subjects/a", {"x-request-id": "trace-7.a:b"})
    assert got.headers["x-request-id"] == "trace-7.a:b"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>", "", "é".encode().decode("latin-1")])
async def test_harmful_request_id_is_replaced(given: str) -> None:
    app, _, _ = app_and_metrics()
    client = Client("GET", "/subjects/a", {"x-request-id": given})
    client.body(b"")
    await client.run(app)
    assert client.answered_headers["x-request-id"] != given


async def test_requests_are_counted_by_template() -> None:
    _, metrics = await get("/subjects/ada")
    counted = value(metrics, "likeness_requests_total", route="/subjects/{subject}", code="200")
    assert counted == 1


async def test_unknown_paths_are_counted_as_one() -> None:
    _, metrics = await get("/nothing/here")
    assert value(metrics, "likeness_requests_total", route="unmatched", code="404") == 1


async def test_requests_are_timed() -> None:
    _, metrics = await get("/subjects/ada")
    route = "/subjects/{subject}"
    assert value(metrics, "likeness_request_seconds_count", route=route) == 1


async def test_refusals_are_counted_by_their_route() -> None:
    app, metrics, gate = app_and_metrics()
    with gate.permit():
        async with client_of(app) as client:
            await client.post("/verify", content=b"x")
    assert value(metrics, "likeness_requests_total", route="/verify", code="429") == 1


async def test_unexpected_error_is_an_internal_error() -> None:
    got, _ = await get("/fails")
    assert (got.status_code, got.json()["code"]) == (500, "internal_error")


async def test_unexpected_error_leaks_nothing() -> None:
    got, _ = await get("/fails")
    assert "secret" not in got.text


async def test_unexpected_error_is_counted() -> None:
    _, metrics = await get("/fails")
    assert value(metrics, "likeness_requests_total", route="/fails", code="500") == 1


async def test_unexpected_error_is_logged_with_its_request_id() -> None:
    with written() as log:
        await get("/fails", {"x-request-id": "find-me"})
    assert "ERROR likeness [find-me] the request failed" in log.getvalue()
    assert "RuntimeError: secret" in log.getvalue()


async def test_each_request_is_a_line_without_names() -> None:
    with written() as log:
        await get("/subjects/ruth?who=ruth")
    assert "GET /subjects/{subject} 200" in log.getvalue()
    assert "ruth" not in log.getvalue()


async def test_problems_are_counted_by_their_code() -> None:
    _, metrics = await get("/nothing/here")
    assert value(metrics, "likeness_problems_total", problem="not_found") == 1


async def test_nothing_is_sent_to_a_client_that_is_gone() -> None:
    app, _, _ = app_and_metrics()
    client = Client(path="/embed")
    client.body(b"")
    await client.run(app)
    assert client.got == []


async def test_client_that_is_gone_is_counted() -> None:
    app, metrics, _ = app_and_metrics()
    client = Client(path="/embed")
    client.body(b"")
    await client.run(app)
    assert value(metrics, "likeness_requests_total", route="/embed", code="499") == 1


async def test_client_that_leaves_while_sending_is_counted() -> None:
    app, metrics, _ = app_and_metrics()
    client = Client(path="/verify")
    client.body(b"x", more=True)
    client.hang_up()
    await client.run(app)
    assert value(metrics, "likeness_requests_total", route="/verify", code="499") == 1
