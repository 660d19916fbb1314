"""Reach a service: one that runs at a URL, or one opened here for a single command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from service.app import create_app
from service.cli.terminal import err, show
from service.client.aio import AsyncLikeness
from service.client.errors import Refused
from service.client.retry import Patience
from service.errors import InvalidSettings
from service.settings import Settings
from service.store import is_memory, place_of

# A service that is busy gets better within that time; one whose device is lost does not.
PATIENCE = Patience(budget_s=120.0)


@asynccontextmanager
async def connect(url: str | None, settings: Settings) -> AsyncIterator[AsyncLikeness]:
    """Give a client; without a URL the app is opened in this process and closed afterwards.

    Either way requests take the same path, so a command decides as the service does.
    """
    if url is None:
        show_store(settings.store)
        async with (
            in_process(settings) as transport,
            AsyncLikeness("http://localhost", patience=PATIENCE, transport=transport) as likeness,
        ):
            yield likeness
        return
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    _check_service(url, key)
    async with AsyncLikeness(url, key=key, patience=PATIENCE) as likeness:
        # A wrong URL is told at once; a service that goes away later is waited for.
        with suppress(Refused):
            await likeness.ready()
        yield likeness


def _check_service(url: str, key: str | None) -> None:
    """Raise InvalidSettings for what is no URL of a service, and for what is no key."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if (
        parts.scheme not in ("http", "https")
        or not parts.host
        or not 0 < (parts.port or 80) < 2**16
    ):
        raise InvalidSettings(f"`{url}` is no URL of a service, such as http://127.0.0.1:8000.")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidSettings("LIKENESS_API_KEY is no key: it has characters that no key has.")


def show_store(url: str) -> None:
    """Print where the store is that a command opens, unless it is in memory."""
    if not is_memory(url):
        show(place_of(url), title="store", to=err)


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Open the app in this process, for whoever sends requests through this transport."""
    # Who opens the store itself needs no key.
    app = create_app(settings.model_copy(update={"without_keys": True}))
    async with app.router.lifespan_context(app):
        yield httpx.ASGITransport(app)
