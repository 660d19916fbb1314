"""Serve an app over a real socket of the loopback, as the service itself does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.edge.admission import Gate
from service.edge.connection import Config
from service.edge.server import Server, bind
from service.observe.metrics import Metrics
from service.settings import Settings


@asynccontextmanager
async def serving(
    app: FastAPI, metrics: Metrics, settings: Settings | None = None
) -> AsyncIterator[str]:
    """Serve on a free port; give the URL."""
    settings = (settings or Settings()).model_copy(update={"port": 0})
    with bind(settings) as listener:
        listening = asyncio.Event()
        gate = Gate(settings.max_inflight, metrics)
        server = Server(Config(app, settings, metrics), gate, 0.0, listening.set)
        task = asyncio.create_task(server.serve([listener]))
        await listening.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
