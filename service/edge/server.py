"""Run the app: bind, check the exposure, announce, drain, and return an exit status."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from fastapi import FastAPI

from service.edge.admission import Gate
from service.edge.connection import Config
from service.edge.keys import KeyRing
from service.edge.listener import AcceptingServer, allow_many_files, most_connections
from service.errors import InvalidSettings
from service.settings import Settings

logger = logging.getLogger("likeness")

DEVICE_LOST_EXIT = 70  # EX_SOFTWARE: only a new process can get the device back

Announce = Callable[[str], Awaitable[Callable[[], None]]]
"""Prepare what the operator is told when the service listens at a URL; the result prints it."""


class Server(AcceptingServer):
    """Announce when the service listens, and drain it on a signal to end.

    After the first signal it still accepts requests for `leave_s` seconds, but reports that it is
    not ready. A second signal skips that time.
    """

    def __init__(
        self,
        config: Config,
        gate: Gate,
        leave_s: float,
        announce: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._gate = gate
        self._leave_s = leave_s
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here: uvicorn would raise them again before the store is closed."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._leave_s > 0:
            self._gate.leave()
            asyncio.get_running_loop().call_later(self._leave_s, self._end, sig, frame)
            self._leave_s = 0
        else:
            self._end(sig, frame)

    def _end(self, sig: int, frame: FrameType | None) -> None:
        self._gate.drain()
        super().handle_exit(sig, frame)


async def check_exposure(settings: Settings, keys: KeyRing) -> None:
    """Raise InvalidSettings for a service beyond the loopback that has no valid key.

    On the loopback, warn if every key is revoked.
    """
    if settings.without_keys or await keys.has_valid_key():
        return
    if not settings.is_loopback:
        raise InvalidSettings(
            f"On {settings.host} other machines can reach the service, and it has no valid API "
            "key. Create one with `likeness keys create NAME --scope admin`, listen on 127.0.0.1, "
            "or use --without-keys if a proxy in front of the service checks its clients."
        )
    if await keys.ever_had_key():
        logger.warning(
            "Every API key is revoked, so every request that needs one is refused. Stop the "
            "service, run `likeness keys create NAME --scope admin`, and start it again."
        )


async def serve(app: FastAPI, settings: Settings, announce: Announce) -> int:
    """Serve an app until a signal to end, and return the exit status of the process.

    If the service cannot be opened, its error is raised before anything listens.
    """
    files = allow_many_files()
    listener = bind(settings)
    # The lifespan runs here and not in uvicorn, so that a failed start is one clear line.
    with listener:
        async with app.router.lifespan_context(app):
            await check_exposure(settings, app.state.keys)
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            server = Server(
                Config(
                    app,
                    settings,
                    app.state.metrics,
                    most_connections(settings.max_connections, files),
                ),
                app.state.gate,
                settings.leave_s,
                await announce(url),
            )
            _freeze_garbage_collection()
            async with _stop_when(app.state.device_lost, server):
                await server.serve([listener])
    return DEVICE_LOST_EXIT if app.state.device_lost.is_set() else 0


def _freeze_garbage_collection() -> None:
    """Exclude all present objects from later garbage collections.

    A full collection would check the libraries and the model, which stay until the end, and stop
    every thread for 100 ms or more, most often under load.
    """
    gc.collect()
    gc.freeze()


def bind(settings: Settings) -> socket.socket:
    """Return a socket that listens; it is opened first, so that a port in use fails at once."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as exc:
        raise InvalidSettings(
            f"Cannot listen on {settings.host}, port {settings.port}: {exc.strerror}."
        ) from exc
    # Connections inherit this option. The event loop sets it only on sockets that it opens itself.
    # Without it, every answer on a kept connection waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def _stop_when(device_lost: asyncio.Event, server: Server) -> AsyncIterator[None]:
    async def watch() -> None:
        await device_lost.wait()
        server.should_exit = True

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
