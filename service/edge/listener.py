"""Accept connections: a few at a time, and up to a limit of open connections."""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable

import uvicorn

from service.edge.connection import Config, Connection
from service.errors import InvalidSettings

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


class AcceptingServer(uvicorn.Server):
    """Run uvicorn, but accept connections by Acceptor."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._config = config
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        assert sockets is not None  # the one socket that `bind` has opened
        (listener,) = sockets
        self._acceptor = Acceptor(listener, self._config, self._connection)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self._config, self.server_state, self.lifespan.state)


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
