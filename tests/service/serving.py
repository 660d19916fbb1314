"""Serve an app over a real socket of the loopback, as the service itself does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.edge.connection import Config
from service.edge.listener import AcceptingServer
from service.edge.server import bind
from service.observe.metrics import Metrics
from service.settings import Settings


class Server(AcceptingServer):
    """Tell when it listens."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def serving(
    app: FastAPI, metrics: Metrics, settings: Settings | None = None
) -> AsyncIterator[str]:
    """Serve on a free port; give the URL."""
    settings = (settings or Settings()).model_copy(update={"port": 0})
    with bind(settings) as listener:
        server = Server(Config(app, settings, metrics))
        task = asyncio.create_task(server.serve([listener]))
        await server.listening.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
