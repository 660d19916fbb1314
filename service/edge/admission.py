"""Admit requests: bound how many run, and how large and how slow their bodies may be."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.access import Policy, need_of
from service.edge.problems import problem, request_id
from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    Draining,
    NotReady,
    ServiceError,
    TooManyRequests,
)
from service.observe.metrics import Metrics
from service.settings import Settings

_LINGER_S = 1.0
# Enough for thousands of ids, or for the numbers of some vectors.
_MAX_BYTES_WITHOUT_PHOTOS = 2**20


class Gate:
    """Hold the permits of one app, and whether it accepts requests; owned by the event loop."""

    def __init__(self, max_inflight: int, metrics: Metrics) -> None:
        self._max_inflight = max_inflight
        self._metrics = metrics
        self.inflight = 0
        """How many permits are taken."""
        self._closed: Draining | NotReady | None = NotReady("The service is starting.")
        self._leaving = False

    def open(self) -> None:
        """Accept requests from now on."""
        self._closed = None

    def leave(self) -> None:
        """Report the service as not ready from now on, but still accept requests."""
        self._leaving = True

    def drain(self) -> None:
        """Accept no requests from now on; running requests continue."""
        self._closed = Draining("The service is shutting down.")

    def check(self) -> None:
        """Raise NotReady before the gate opens, Draining after it closes."""
        if self._closed is not None:
            # A new exception each time: one that is raised again collects tracebacks.
            raise type(self._closed)(self._closed.sentence)

    def check_ready(self) -> None:
        """Raise as `check` does, and Draining once the service has been told to leave."""
        self.check()
        if self._leaving:
            raise Draining("The service is about to shut down.")

    def check_room(self) -> None:
        """Raise as `check` does, and TooManyRequests if no permit is free."""
        self.check()
        if self.inflight >= self._max_inflight:
            raise TooManyRequests(f"The service is busy with {self.inflight} requests.")

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit. Raises at once if `check_room` does."""
        self.check_room()
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.inflight += change
        self._metrics.inflight(self.inflight)


class Admission:
    """Refuse requests before their body is read: no permit, too large, too slow, not ready."""

    def __init__(
        self, app: ASGIApp, gate: Gate, settings: Settings, policies: Sequence[Policy]
    ) -> None:
        self._app = app
        self._gate = gate
        self._settings = settings
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        need = need_of(self._policies, scope)
        body = Body(receive, send, BodyLimits.of(self._settings, need.photos))
        try:
            if not need.is_open:
                self._gate.check()
            body.declare(Headers(scope=scope))
            if need.photos:
                with self._gate.permit():
                    await self._app(scope, body.receive, body.send)
            else:
                await self._app(scope, body.receive, body.send)
        except ServiceError as error:
            await problem(error, request_id(scope))(scope, body.receive, body.send)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Hold how many bytes a body may have, in how many seconds, and whether it has photos."""

    max_bytes: int
    timeout_s: float
    with_photos: bool

    @classmethod
    def of(cls, settings: Settings, with_photos: bool) -> Self:
        """Return the limits of a request with photos or without."""
        max_bytes = settings.max_body_bytes
        if not with_photos:
            max_bytes = min(max_bytes, _MAX_BYTES_WITHOUT_PHOTOS)
        return cls(max_bytes, settings.body_timeout_s, with_photos)


class Body:
    """Count and time a body while it is read, and end the connection gently if it is refused."""

    def __init__(self, receive: Receive, send: Send, limits: BodyLimits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._deadline: float | None = None
        self._bytes = 0
        self._complete = False
        # The connection is closed after this answer, unless the whole body has been read.
        self._last = False

    def declare(self, headers: Headers) -> None:
        """Raise BodyTooLarge if the headers announce a body that is too large."""
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers:
            # The size is unknown, so the rest of a body that is refused cannot be skipped.
            self._last = True
        elif length.isdecimal() and int(length) > self._limits.max_bytes:
            self._last = True
            raise self._too_large()

    async def receive(self) -> Message:
        """Receive a message; raises BodyTooLarge, BodyTimeout."""
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._limits.timeout_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as exc:
            self._last = True
            raise BodyTimeout(
                f"The request's body did not arrive within {self._limits.timeout_s:g} seconds."
            ) from exc
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._limits.max_bytes:
                self._last = True
                raise self._too_large()
            self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message; hold back the last one a little if the client is still sending.

        Closing then would reset the connection, and the client might never read its answer.
        """
        last = self._last and not self._complete
        if last and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        elif last and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(_LINGER_S):
                while (await self._receive()).get("more_body", False):
                    continue
        except TimeoutError:
            return

    def _too_large(self) -> BodyTooLarge:
        error = BodyTooLarge(f"The request's body has more than {self._limits.max_bytes} bytes.")
        if not self._limits.with_photos:
            error.advice = None
        return error
