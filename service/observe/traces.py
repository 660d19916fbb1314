"""Traces: a span for each request and one for each of its stages, where somebody collects them.

The collector is told by OpenTelemetry's own variables. What is traced names nobody.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol

from service.errors import InvalidSettings
from service.observe.answered import Answered
from service.settings import Settings

logger = logging.getLogger("likeness")

SPAN: Final[ContextVar[object | None]] = ContextVar("span", default=None)
"""Of the request that is being served where the code runs; only a tracer knows what it is."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP: Final = "http/protobuf"


class RequestSpan(Protocol):
    """Be told how a request went, before its span ends."""

    def answered(self, request: Answered) -> None: ...


class Tracer(Protocol):
    """Make spans of what has happened; times are of `time.perf_counter`, in seconds."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Open the span of a request, as a child of the caller's where `traceparent` names one."""
        ...

    def stage(
        self, stage: str, started: float, seconds: float, sharers: Sequence[object] = ()
    ) -> None:
        """Add a stage to the span of the request that is being served, if one is.

        `sharers` are the spans of all requests that a forward pass served, this one included.
        """
        ...


class Untraced:
    """Trace nothing, at the price of a call."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        return nullcontext(self)

    def stage(
        self, stage: str, started: float, seconds: float, sharers: Sequence[object] = ()
    ) -> None: ...

    def answered(self, request: Answered) -> None: ...


@asynccontextmanager
async def open_tracer(settings: Settings) -> AsyncIterator[Tracer]:
    """Give what traces, if the settings or OpenTelemetry's variables ask for it.

    What was traced is sent before this ends. Raises InvalidSettings if the settings themselves
    ask for what cannot be had; variables that a whole cluster sets are no reason not to start.
    """
    wanted = settings.traces
    if wanted is None:
        wanted = any(os.environ.get(name) for name in _ENDPOINTS)
    obstacle = _obstacle() if wanted else None
    if obstacle is not None:
        if settings.traces:
            raise InvalidSettings(f"LIKENESS_TRACES: {obstacle}")
        logger.warning("nothing is traced: %s", obstacle)
    if not wanted or obstacle is not None:
        yield Untraced()
        return
    from service.observe.otel import open_otel

    tracer = open_otel()
    try:
        yield tracer
    finally:
        await asyncio.to_thread(tracer.close)


def _obstacle() -> str | None:
    protocol = next(filter(None, (os.environ.get(name) for name in _PROTOCOLS)), _HTTP)
    if protocol != _HTTP:
        return f"traces are sent by OTLP as {_HTTP}, not {protocol}."
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError:
        return "traces need OpenTelemetry: .venv/bin/pip install -e '.[otel]'"
    return None
