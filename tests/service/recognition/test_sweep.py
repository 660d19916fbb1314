"""Expired templates are erased without a request."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from service.errors import StoreDamaged, StoreError, StoreUnavailable
from service.observe.metrics import Metrics
from service.recognition.sweep import sweep, sweep_forever
from service.store import Deletion, Store, open_store
from tests.contracts.store.samples import Clock, template
from tests.service.observe.test_metrics import value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(clock: Clock) -> AsyncIterator[Store]:
    store = await open_store("sqlite:///:memory:", clock)
    yield store
    await store.close()


async def test_all_expired_templates_are_erased_however_many(store: Store, clock: Clock) -> None:
    soon = clock.now + timedelta(seconds=1)
    for subject in range(3):
        await store.enroll(f"s{subject}", [template(f"{n}", expires_at=soon) for n in range(400)])
    clock.now = soon
    assert await sweep(store) == 1200
    assert (await store.count()).subjects == 0


@pytest.mark.parametrize("error", [StoreUnavailable, StoreDamaged])
async def test_sweep_of_an_unavailable_or_damaged_store_is_repeated(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[StoreError],
) -> None:
    again = asyncio.Event()
    asked = 0

    async def away_once(limit: int) -> Deletion:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise error("The disk is gone.")
        again.set()
        return Deletion(0, 0)

    monkeypatch.setattr(store, "sweep", away_once)
    with caplog.at_level(logging.WARNING, "likeness"):
        task = asyncio.create_task(sweep_forever(store, 0.001, Metrics()))
        await again.wait()
        task.cancel()
    assert "The disk is gone." in caplog.text


async def test_time_of_the_last_sweep_is_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = asyncio.Event()
    metrics, sweep_once = Metrics(), store.sweep

    async def counted(limit: int) -> Deletion:
        if value(metrics, "likeness_swept_timestamp_seconds"):
            second.set()
        return await sweep_once(limit)

    monkeypatch.setattr(store, "sweep", counted)
    task = asyncio.create_task(sweep_forever(store, 0.001, metrics))
    await second.wait()
    task.cancel()
    assert value(metrics, "likeness_swept_timestamp_seconds") > 1.7e9
