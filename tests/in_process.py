"""Send any request to the app, opened in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.types import ASGIApp

from service.cli.local import in_process
from service.settings import Settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Open the app, which asks for no key, and give a client of it."""
    async with in_process(settings) as transport, _client(transport) as client:
        yield client


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client of an app as it is; whoever has a lifespan of it opens it.

    It calls the app by a name of the loopback: by another one it would be asked for a key.
    """
    return _client(httpx.ASGITransport(app))


def _client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)
