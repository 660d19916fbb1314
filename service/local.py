"""Reach a service: one that runs at a URL, or one opened here for a single command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from service.app import create_app
from service.settings import Settings

TIMEOUT_S = 60.0


@asynccontextmanager
async def connect(url: str | None, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client; without a URL the app is opened in this process and closed afterwards.

    Either way requests take the same path, so a command decides as the service does.
    """
    if url is not None:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
            yield client
        return
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://likeness", timeout=TIMEOUT_S
        ) as client:
            yield client
