"""Run the app: bind, accept connections, announce, drain, and return an exit status."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.edge.admission import Gate
from service.edge.connection import Config, Connection
from service.edge.keys import KeyRing
from service.errors import InvalidSettings
from service.settings import Settings

logger = logging.getLogger("likeness")

# More wait for the next turn of the event loop, so that a crowd does not delay running requests.
_AT_ONCE = 8
# A client that is refused needs a connection too.
_TO_REFUSE = 8
_PAUSE_S = 0.5
# Files that stay free for the store, the liveness checker and others that open some later: this
# many, or this share of all files if that is more.
_KEPT_FREE, _SHARE = 16, 1 / 16
_FEWEST = 8
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def allow_many_files() -> int:
    """Raise this process's limit of open files as far as possible, and return the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Some systems report a limit that they do not grant.
        logger.debug("the limit of open files could not be raised", exc_info=True)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_connections(wanted: int, files: int) -> int:
    """Return how many connections may be open at a time, and log it; `files` is the limit of files.

    Raises InvalidSettings if that leaves too few connections.
    """
    taken = len(os.listdir("/dev/fd")) + max(_KEPT_FREE, int(_SHARE * files)) + _TO_REFUSE
    most = wanted if files < 0 else min(wanted, files - taken)
    if most < _FEWEST:
        raise InvalidSettings(
            f"This process may open {files} files, which leaves {most} for connections. Allow at "
            f"least {taken + _FEWEST} files (`ulimit -n`, systemd's LimitNOFILE, docker's --ulimit "
            "nofile)."
        )
    level = logging.INFO if most == wanted else logging.WARNING
    logger.log(level, "at most %d connections; at most %d open files", most, files)
    return most


class Acceptor:
    """Accept the connections to one socket, until it is stopped."""

    def __init__(
        self, listener: socket.socket, config: Config, connection: Callable[[], Connection]
    ) -> None:
        self._listener = listener
        self._most = config.max_connections + _TO_REFUSE
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._open = 0
        self._beginning: set[asyncio.Task[None]] = set()
        self._is_listening = False
        self._is_stopped = False
        listener.setblocking(False)
        config.closed = self._closed
        self._listen()

    def stop(self) -> None:
        """Accept no more connections."""
        self._is_stopped = True
        self._pause()

    def _listen(self) -> None:
        if not self._is_stopped and not self._is_listening:
            self._is_listening = True
            self._loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._open >= self._most:
                self._pause()
                return
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _USED_UP:
                    raise
                logger.warning("no connection can be accepted now: %s", exc.strerror)
                self._pause()
                self._loop.call_later(_PAUSE_S, self._listen)
                return
            accepted.setblocking(False)
            self._open += 1
            task = self._loop.create_task(self._begin(accepted))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connection, accepted)
        except OSError:
            # The client disconnected already.
            accepted.close()
            self._closed()

    def _closed(self) -> None:
        self._open -= 1
        # Only after this returns is the file of the connection closed.
        self._loop.call_soon(self._listen)


DEVICE_LOST_EXIT = 70  # EX_SOFTWARE: only a new process can get the device back

Announce = Callable[[str], Awaitable[Callable[[], None]]]
"""Prepare what the operator is told when the service listens at a URL; the result prints it."""


class Server(uvicorn.Server):
    """Run uvicorn with an Acceptor; announce when it listens, and drain it on a signal to end.

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
        self._config = config
        self._acceptor: Acceptor | None = None
        self._gate = gate
        self._leave_s = leave_s
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        assert sockets is not None  # the one socket that `bind` has opened
        (listener,) = sockets
        self._acceptor = Acceptor(listener, self._config, self._connection)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self._config, self.server_state, self.lifespan.state)

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
