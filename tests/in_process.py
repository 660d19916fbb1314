"""Send any request to the app, opened in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from service.local import in_process
from service.settings import Settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Open the app and give a client of it."""
    async with (
        in_process(settings) as transport,
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        yield client
