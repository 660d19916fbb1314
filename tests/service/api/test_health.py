"""The metrics stay available while the store is not, and costly results are shared."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.api.health import SharedResult
from service.app import create_app
from service.errors import StoreDamaged, StoreError, StoreUnavailable
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of

READY, STORE, TEMPLATES = "likeness_ready", "likeness_store_up", "likeness_templates"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[FastAPI]:
    bundle = str(write_bundle(tmp_path / "bundle"))
    app = create_app(Settings(store="sqlite:///:memory:", bundle=bundle, decode_threads=1))
    async with app.router.lifespan_context(app):
        yield app


async def shown(app: FastAPI) -> dict[str, float]:
    async with client_of(app) as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("error", [StoreUnavailable, StoreDamaged])
async def test_metrics_say_what_is_away_and_what_takes_how_long(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, error: type[StoreError]
) -> None:
    before = await shown(app)
    store = app.state.service.store

    async def away() -> None:
        raise error("The database is away.")

    async def hangs() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "ping", away)
    during = await shown(app)
    monkeypatch.setattr(store, "ping", hangs)
    monkeypatch.setattr("service.api.health._STORE_S", 0.01)
    hanging = await shown(app)
    monkeypatch.undo()
    app.state.gate.leave()
    leaving = await shown(app)
    states = [(each[STORE], each[READY]) for each in (before, during, hanging, leaving)]
    assert states == [(1, 1), (0, 0), (0, 0), (1, 0)]
    assert during[TEMPLATES] == 0
    assert leaving["likeness_store_seconds_count"] > 0
    assert before["likeness_build_info"] == 1


class CountedCall:
    """Count the calls, and let the test decide when a call ends."""

    def __init__(self) -> None:
        self.made = 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def make(self) -> int:
        self.made += 1
        number = self.made
        self.begun.set()
        await self.may_end.wait()
        return number


async def test_callers_during_a_call_share_the_next_one() -> None:
    call = CountedCall()
    shared = SharedResult(call.make, 0.0)
    first = asyncio.create_task(shared.get())
    await call.begun.wait()
    crowd = [asyncio.create_task(shared.get()) for _ in range(100)]
    call.may_end.set()
    assert await first == 1
    assert set(await asyncio.gather(*crowd)) == {2}


async def test_caller_that_leaves_does_not_cancel_the_call() -> None:
    call = CountedCall()
    shared = SharedResult(call.make, 0.0)
    leaves, stays = (asyncio.create_task(shared.get()) for _ in range(2))
    await call.begun.wait()
    leaves.cancel()
    call.may_end.set()
    assert await stays == 1


async def test_failed_call_is_not_remembered() -> None:
    tries = iter((ValueError("away"), None))

    async def make() -> str:
        if (error := next(tries)) is not None:
            raise error
        return "made"

    shared = SharedResult(make, 0.0)
    with pytest.raises(ValueError, match="away"):
        await shared.get()
    assert await shared.get() == "made"
