"""One connection: how long it may take to ask, how much, and how slowly it may listen.

uvicorn waits forever for the rest of a head, takes one of any size, queues all that is sent
ahead, and waits forever for a client that does not read its answer.
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

# Browsers and proxies send at most some 8 KiB, cookies included.
_MAX_HEAD_BYTES = 32 * 2**10
_MAX_HEADERS = 100
# Hardly anybody sends requests ahead, and each one is kept until its turn.
_MAX_AHEAD = 8
# Who has read next to nothing of an answer for so long reads no more.
_STALL_S = 30.0
# And, as who asks for nothing, after so long already makes way where connections run out.
_SLOW_S = 0.25
# For one of them to become idle, where all are busy.
_TRIES, _RETRY_S = 20, 0.1
# For a refusal to be read by who is still sending: closing at once would reset the connection.
_LINGER_S = 1.0


class Config(uvicorn.Config):
    """Configure uvicorn for an app of these settings."""

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
        """Since when each has had no request but some sent ahead, in the loop's time."""
        self.unread: dict[Connection, float] = {}
        """Since when each client has not read on."""
        self.waiting: set[Connection] = set()
        """Those that wait for another's place."""


class Connection(HttpToolsProtocol):
    """Bound what a connection may cost before the app sees a request, and after it answers."""

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
        self._wrong: LikenessError | None = None
        # Heads and pieces of bodies so far, and bytes since the last that belong to none yet.
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
            # Even an empty line ends uvicorn's patience with an idle connection: ours begins.
            limits = self.config.settings
            self._await_rest(limits.body_timeout_s if self._in_body else limits.header_timeout_s)
        steps = self._steps
        super().data_received(data)
        # Heads, and what a chunked body can hold beside itself: extensions and trailers.
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
        # Behind the body come trailers. Nobody looks for them, and they pass for headers.
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
        self._refuse(self._wrong or MalformedRequest("This is not a request of HTTP/1.1."))

    # What ends a request, and a connection

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._has_shown_key |= KEY_ID in self.cycle.scope["state"]
        if self.transport.is_closing():
            self._start_stall()
        else:
            self.config.idle[self] = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        # Not `close`, which would wait for who has not even read the last answer.
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
        """Take a place, that of another connection if need be; wait for one a little, or refuse."""
        config = self.config
        is_full = len(self.connections) - len(config.waiting) >= config.max_connections
        if is_full and not self._make_room():
            self.flow.pause_reading()
            if tries:
                self._arrival = self.loop.call_later(_RETRY_S, self._enter, tries - 1)
                return
            config.waiting.discard(self)
            self._refuse(TooManyRequests("The service is busy on every connection."))
            return
        config.waiting.discard(self)
        config.idle[self] = self.loop.time()
        self.flow.resume_reading()
        self._await_rest(config.settings.header_timeout_s)

    def _make_room(self) -> bool:
        """End the connection that is not read or idle longest, if there is one."""
        config, at_least = self.config, self.loop.time() - _SLOW_S
        since = {each: at for each, at in (config.idle | config.unread).items() if at <= at_least}
        if not since:
            return False
        # One that has shown a key only where no stranger makes way.
        longest = min(since, key=lambda each: (each._has_shown_key, since[each]))
        config.idle.pop(longest, None)
        config.unread.pop(longest, None)
        longest._end("crowded_out")
        return True

    def _end(self, reason: str) -> None:
        self.config.metrics.connection_ended(reason)
        self.transport.abort()

    def _fail(self, error: LikenessError) -> None:
        """Stop the parser from within one of its calls; it comes back as a bad request."""
        self._wrong = error
        raise ValueError(error.code)

    def _refuse(self, error: LikenessError) -> None:
        """Answer what never becomes a request, and hear no more."""
        self._refused = True
        self._stop_awaiting()
        self.config.metrics.connection_ended(error.code)
        cycle = self.cycle
        if self.pipeline or (self._busy and not cycle.more_body):
            # Answers keep their order: the one that is due is the last.
            cycle.keep_alive = False
        elif self._busy and cycle.response_started:
            self.transport.close()
        else:
            if self._busy:
                # The rest of its body never comes, and what it would answer comes too late.
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
