"""Stop the work for a client that has disconnected."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from service.errors import ClientGone

T = TypeVar("T")


async def run_until_disconnect(request: Request, work: Coroutine[None, None, T]) -> T:
    """Return what the work returns; cancel it when the client disconnects.

    The body must have been read to its end, because the watcher drops whatever else arrives.
    Cancelled work is awaited, so that nothing of it outlives the request. Raises ClientGone, and
    what the work raises.
    """
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        await watcher
        raise ClientGone("The client went away before its answer was ready.")
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
