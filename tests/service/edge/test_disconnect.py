import asyncio

import pytest
from starlette.requests import Request

from service.edge.disconnect import run_until_disconnect
from service.errors import ClientGone, QueueFull
from tests.service.asgi_client import Client


def request_of(client: Client) -> Request:
    return Request(client.scope, client.receive)


async def test_result_is_returned() -> None:
    async def work() -> int:
        return 7

    assert await run_until_disconnect(request_of(Client()), work()) == 7


async def test_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise QueueFull("x")

    with pytest.raises(QueueFull):
        await run_until_disconnect(request_of(Client()), work())


async def test_work_is_cancelled_when_the_client_goes() -> None:
    started, cancelled, client = asyncio.Event(), asyncio.Event(), Client()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(run_until_disconnect(request_of(client), work()))
    await started.wait()
    client.hang_up()
    with pytest.raises(ClientGone):
        await task
    assert cancelled.is_set()


async def test_work_is_cancelled_with_its_request() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(run_until_disconnect(request_of(Client()), work()))
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert cancelled.is_set()


async def test_nothing_outlives_the_request() -> None:
    before = asyncio.all_tasks()

    async def work() -> None:
        return

    await run_until_disconnect(request_of(Client()), work())
    assert asyncio.all_tasks() == before


async def test_leftover_body_is_not_a_disconnect() -> None:
    release, client = asyncio.Event(), Client()

    async def work() -> int:
        await release.wait()
        return 7

    client.body(b"rest")
    task = asyncio.create_task(run_until_disconnect(request_of(client), work()))
    await client.was_read(2)
    release.set()
    assert await task == 7
