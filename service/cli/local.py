"""Reach a service: one at a URL, or one that is opened in this process for a single command."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx

from service.cli.terminal import err, show
from service.client.aio import AsyncLikeness
from service.client.errors import Refused
from service.client.retry import Patience
from service.errors import InvalidSettings

if TYPE_CHECKING:
    from service.settings import Settings

    OpenTransport = Callable[[Settings], AbstractAsyncContextManager[httpx.AsyncBaseTransport]]

# Long enough for a busy service to recover, and no longer if its device is lost.
PATIENCE = Patience(budget_s=120.0)


@asynccontextmanager
async def connect(url: str | None, settings: "Settings") -> AsyncIterator[AsyncLikeness]:
    """Yield a client; without a URL, open the app in this process and close it afterwards.

    Requests take the same path in both cases, so a command decides as the service does.
    """
    async with _connect(url, settings, in_process) as likeness:
        yield likeness


@asynccontextmanager
async def connect_store(url: str | None, settings: "Settings") -> AsyncIterator[AsyncLikeness]:
    """Yield a client for requests that need no encoder; without a URL, open the store only."""
    async with _connect(url, settings, store_in_process) as likeness:
        yield likeness


@asynccontextmanager
async def _connect(
    url: str | None, settings: "Settings", open_transport: "OpenTransport"
) -> AsyncIterator[AsyncLikeness]:
    if url is None:
        show_store(settings.store)
        async with (
            open_transport(settings) as transport,
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


@asynccontextmanager
async def store_in_process(settings: "Settings") -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Open the store in this process and yield a transport to the routes that need only it."""
    from fastapi import FastAPI

    from service.api import audit, keys, names, subjects
    from service.edge.boundary import Boundary
    from service.edge.keys import KeyRing
    from service.edge.problems import install
    from service.edge.targets import ExactTarget
    from service.observe.metrics import Metrics
    from service.observe.traces import NO_TELEMETRY
    from service.store import open_store
    from service.store.master_keys import open_vault

    # In a thread: the master keys may come from a command, which can be slow.
    vault = await asyncio.to_thread(open_vault, settings)
    store = await open_store(settings.store, vault=vault)
    try:
        app = FastAPI(openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY)
        app.state.store, app.state.keys = store, KeyRing(store, vault)
        install(app)
        for module in (audit, keys, names, subjects):
            app.include_router(module.router)
        app.add_middleware(ExactTarget)
        app.add_middleware(Boundary, metrics=Metrics())
        yield httpx.ASGITransport(app)
    finally:
        await store.close()
