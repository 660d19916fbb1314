"""Reach a service: one at a URL, or one that is opened in this process for a single command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx

from service.cli.terminal import err, show
from service.client.aio import AsyncLikeness
from service.client.errors import Refused
from service.client.retry import Patience
from service.errors import InvalidSettings

if TYPE_CHECKING:
    from service.settings import Settings

# Long enough for a busy service to recover, and no longer if its device is lost.
PATIENCE = Patience(budget_s=120.0)


@asynccontextmanager
async def connect(url: str | None, settings: "Settings") -> AsyncIterator[AsyncLikeness]:
    """Yield a client; without a URL, open the app in this process and close it afterwards.

    Requests take the same path in both cases, so a command decides as the service does.
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
        # A wrong URL fails here at once; the requests that follow are retried for a while.
        with suppress(Refused):
            await likeness.ready()
        yield likeness


def _check_service(url: str, key: str | None) -> None:
    """Raise InvalidSettings if the URL or the key cannot be valid."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if (
        parts.scheme not in ("http", "https")
        or not parts.host
        or not 0 < (parts.port or 80) < 2**16
    ):
        raise InvalidSettings(
            f"`{url}` is not the URL of a service; a URL looks like http://127.0.0.1:8000."
        )
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidSettings("LIKENESS_API_KEY has characters that no API key has.")


def show_store(url: str) -> None:
    """Print where the store is that a command opens, unless it is in memory."""
    from service.store import is_memory, place_of

    if not is_memory(url):
        show(place_of(url), title="store", to=err)


@asynccontextmanager
async def in_process(settings: "Settings") -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Open the app in this process and yield a transport that sends requests to it."""
    from service.app import create_app

    # A command that can open the store itself needs no key.
    app = create_app(settings.model_copy(update={"without_keys": True}))
    async with app.router.lifespan_context(app):
        yield httpx.ASGITransport(app)
