"""Reach a service: one that runs at a URL, or one opened here for a single command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from service.app import create_app
from service.async_client import AsyncLikeness
from service.patience import Patience
from service.refused import Refused
from service.settings import Settings

# A service that is busy gets better within that time; one whose device is lost does not.
PATIENCE = Patience(budget_s=120.0)


@asynccontextmanager
async def connect(url: str | None, settings: Settings) -> AsyncIterator[AsyncLikeness]:
    """Give a client; without a URL the app is opened in this process and closed afterwards.

    Either way requests take the same path, so a command decides as the service does.
    """
    if url is None:
        async with (
            in_process(settings) as transport,
            AsyncLikeness("http://localhost", patience=PATIENCE, transport=transport) as likeness,
        ):
            yield likeness
        return
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    async with AsyncLikeness(url, key=key, patience=PATIENCE) as likeness:
        # A wrong URL is told at once; a service that goes away later is waited for.
        with suppress(Refused):
            await likeness.ready()
        yield likeness


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Open the app in this process, for whoever sends requests through this transport."""
    # Who opens the store itself needs no key.
    app = create_app(settings.model_copy(update={"without_keys": True}))
    async with app.router.lifespan_context(app):
        yield httpx.ASGITransport(app)
