"""The limits of one connection: size and time of a request's head, and time to read an answer.

uvicorn waits forever for the rest of a head, accepts a head of any size, queues every request
that is sent ahead, and waits forever for a client that does not read its answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from models.errors import LikenessError
from service.edge.boundary import add_safe_headers
from service.edge.guard import KEY_ID
from service.edge.problems import problem
from service.errors import HeadTimeout, HeadTooLarge, MalformedRequest, TooManyRequests
from service.observe.metrics import Metrics
from service.settings import Settings

# Browsers and proxies send heads of 8 KiB at most, with cookies.
_MAX_HEAD_BYTES = 32 * 2**10
_MAX_HEADERS = 100
# Few clients send requests ahead, and each one is kept in memory until its turn.
_MAX_AHEAD = 8
# A client that reads nothing of its answer for so long is disconnected.
_STALL_S = 30.0
# When connections run out, a client makes room for another if for so long it has read nothing of
# its answer or sent no request.
_SLOW_S = 0.25
# How often, and after how long, a new connection looks for room if all others are busy.
_TRIES, _RETRY_S = 20, 0.1
# Time for the client to read a refusal: closing at once would reset the connection.
_LINGER_S = 1.0


class Config(uvicorn.Config):
    """Configure uvicorn, and hold what the connections share."""

    def __init__(
        self, app: Any, settings: Settings, metrics: Metrics, max_connections: int | None = None
    ) -> None:
        super().__init__(
            app,
            http=Connection,
            ws="none",
            log_config=None,
            lifespan="off",
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
        self.settings = settings
        self.metrics = metrics
        self.max_connections = max_connections or settings.max_connections
        self.closed: Callable[[], None] = lambda: None
        """Called whenever a connection is closed."""
        self.idle: dict[Connection, float] = {}
        """Since when each idle connection has no request, in the event loop's time."""
        self.unread: dict[Connection, float] = {}
        """Since when the client of each connection has read nothing, in the event loop's time."""
        self.waiting: set[Connection] = set()
        """New connections that wait until there is room."""


class Connection(HttpToolsProtocol):
    """Bound what a connection costs before the app gets a request, and after it answers."""

    config: Config

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._arrival: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._in_head = False
        self._in_body = False
        self._refused = False
        self._has_shown_key = False
        self._error: LikenessError | None = None
        # The heads and body chunks so far, and the bytes since the last of them.
        self._steps = 0
        self._loose_bytes = 0

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.config.waiting.add(self)
        self._enter(_TRIES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.idle.pop(self, None)
        self.config.unread.pop(self, None)
        self.config.waiting.discard(self)
        self._stop_awaiting()
        self._stop_stall()
        super().connection_lost(exc)
        self.config.closed()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._arrival is None and not self._busy:
            # Any byte, even an empty line, stops uvicorn's keep-alive timer: start our own.
            limits = self.config.settings
            self._await_rest(limits.body_timeout_s if self._in_body else limits.header_timeout_s)
        steps = self._steps
        super().data_received(data)
        # Such bytes are an unfinished head, or the extensions and trailers of a chunked body.
        self._loose_bytes = self._loose_bytes + len(data) if steps == self._steps else 0
        if self._loose_bytes > _MAX_HEAD_BYTES:
            self._refuse(_too_large())

    def pause_writing(self) -> None:
        super().pause_writing()
        self.config.unread[self] = self.loop.time()
        self._start_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.config.unread.pop(self, None)
        self._stop_stall()

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._arrival is None:
            self._await_rest(self.config.settings.header_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Headers after the body are trailers, which must not pass for headers.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._steps += 1
        self._in_head, self._in_body = False, True
        self._stop_awaiting()
        self.config.idle.pop(self, None)
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > _MAX_HEAD_BYTES or len(self.headers) > _MAX_HEADERS:
            self._fail(_too_large())
        if len(self.pipeline) >= _MAX_AHEAD:
            self._fail(MalformedRequest("Too many requests were sent ahead of their answers."))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._stop_awaiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._error or MalformedRequest("This is not an HTTP/1.1 request."))

    # What ends a request, and a connection

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._has_shown_key |= KEY_ID in self.cycle.scope["state"]
        if self.transport.is_closing():
            self._start_stall()
        else:
            self.config.idle[self] = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        # Not `close`, which would wait for a client that does not read its last answer.
        self.transport.abort()

    def _await_rest(self, seconds: float) -> None:
        self._stop_awaiting()
        self._arrival = self.loop.call_later(seconds, self._late)

    def _stop_awaiting(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _start_stall(self) -> None:
        self._stop_stall()
        self._stall = self.loop.call_later(_STALL_S, self._end, "stalled")

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _late(self) -> None:
        if self._in_head:
            seconds = self.config.settings.header_timeout_s
            self._refuse(HeadTimeout(f"The request's head did not arrive within {seconds:g} s."))
        else:
            self._end("idle")

    def _enter(self, tries: int) -> None:
        """Admit this connection if there is room or another can end; else wait, then refuse."""
        config = self.config
        is_full = len(self.connections) - len(config.waiting) >= config.max_connections
        if is_full and not self._make_room():
            self.flow.pause_reading()
            if tries:
                self._arrival = self.loop.call_later(_RETRY_S, self._enter, tries - 1)
                return
            config.waiting.discard(self)
            self._refuse(TooManyRequests("All connections of the service are busy."))
            return
        config.waiting.discard(self)
        config.idle[self] = self.loop.time()
        self.flow.resume_reading()
        self._await_rest(config.settings.header_timeout_s)

    def _make_room(self) -> bool:
        """End the connection that has been idle or unread longest; return whether there is one."""
        config, at_least = self.config, self.loop.time() - _SLOW_S
        since = {each: at for each, at in (config.idle | config.unread).items() if at <= at_least}
        if not since:
            return False
        # A connection that has shown a key is ended only if no other can be.
        longest = min(since, key=lambda each: (each._has_shown_key, since[each]))
        config.idle.pop(longest, None)
        config.unread.pop(longest, None)
        longest._end("crowded_out")
        return True

    def _end(self, reason: str) -> None:
        self.config.metrics.connection_ended(reason)
        self.transport.abort()

    def _fail(self, error: LikenessError) -> None:
        """Stop the parser from within one of its callbacks; it then calls `send_400_response`."""
        self._error = error
        raise ValueError(error.code)

    def _refuse(self, error: LikenessError) -> None:
        """Answer bytes that never become a request, and read no more."""
        self._refused = True
        self._stop_awaiting()
        self.config.metrics.connection_ended(error.code)
        cycle = self.cycle
        if self.pipeline or (self._busy and not cycle.more_body):
            # Answers must keep their order, so the one that is due becomes the last.
            cycle.keep_alive = False
        elif self._busy and cycle.response_started:
            self.transport.close()
        else:
            if self._busy:
                # The rest of its body is not read, so the app gets no chance to answer it.
                cycle.disconnected = True
                cycle.message_event.set()
            self.transport.write(_answer(error, self.server_state))
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.abort)


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The request's head has more than {_MAX_HEAD_BYTES} bytes or {_MAX_HEADERS} headers."
    )


def _answer(error: LikenessError, state: ServerState) -> bytes:
    response = problem(error)
    add_safe_headers(response.headers)
    headers = [*state.default_headers, *response.raw_headers, (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)
