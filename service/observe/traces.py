"""Traces: one span for each request and one for each of its stages, if a collector is configured.

OpenTelemetry's own variables name the collector. A span holds no personal data. OpenTelemetry is
an extra, so that only `open_otel` and what it makes import it.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Final, Protocol

from service.errors import InvalidSettings
from service.observe.logs import RequestRecord
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger("likeness")

SPAN: Final[ContextVar[object | None]] = ContextVar("span", default=None)
"""The span of the request that this code serves; only a tracer knows its type."""

NO_TELEMETRY: Final["TelemetryConfig"] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's own telemetry, off: its spans and records hold paths, which hold subjects' names."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP: Final = "http/protobuf"
_NANOSECONDS: Final = 1_000_000_000


class RequestSpan(Protocol):
    """Take the outcome of a request before its span ends."""

    def answered(self, request: RequestRecord) -> None: ...


class Tracer(Protocol):
    """Make spans of requests and stages; times are of `time.perf_counter`, in seconds."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Open the span of a request, as a child of the caller's span if `traceparent` names it."""
        ...

    def stage(
        self, stage: str, started: float, seconds: float, sharers: Sequence[object] = ()
    ) -> None:
        """Add a stage to the span of the current request, if there is one.

        `sharers` are the spans of all requests that shared a forward pass, this one included.
        """
        ...


class NullTracer:
    """Trace nothing, at the price of a call."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        return nullcontext(self)

    def stage(
        self, stage: str, started: float, seconds: float, sharers: Sequence[object] = ()
    ) -> None: ...

    def answered(self, request: RequestRecord) -> None: ...


@asynccontextmanager
async def open_tracer(settings: Settings) -> AsyncIterator[Tracer]:
    """Yield the tracer that the settings or OpenTelemetry's variables ask for.

    All spans are sent before this ends. Raises InvalidSettings if the settings ask for traces and
    they are impossible. If only a variable asks, which may be set for a whole cluster, the service
    starts without traces and logs a warning.
    """
    wanted = settings.traces
    if wanted is None:
        wanted = any(os.environ.get(name) for name in _ENDPOINTS)
    obstacle = _obstacle() if wanted else None
    if obstacle is not None:
        if settings.traces:
            raise InvalidSettings(f"LIKENESS_TRACES: {obstacle}")
        logger.warning("there are no traces: %s", obstacle)
    if not wanted or obstacle is not None:
        yield NullTracer()
        return
    tracer = open_otel()
    try:
        yield tracer
    finally:
        await asyncio.to_thread(tracer.close)


def _obstacle() -> str | None:
    """Say why traces are impossible; None if they are possible."""
    protocol = next(filter(None, (os.environ.get(name) for name in _PROTOCOLS)), _HTTP)
    if protocol != _HTTP:
        return f"traces are sent by OTLP as {_HTTP}, not {protocol}."
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError:
        return "traces need OpenTelemetry: .venv/bin/pip install -e '.[otel]'"
    return None


class OtelTracer:
    """Send spans with OpenTelemetry, by a provider of this app's own instead of the global one.

    `close` calls `give_up` if it takes more than `patience_s` to send the last spans.
    """

    def __init__(
        self,
        provider: "TracerProvider",
        give_up: Callable[[], None] = lambda: None,
        patience_s: float = 3.0,
    ) -> None:
        self._provider = provider
        self._give_up = give_up
        self._patience_s = patience_s
        self._tracer = provider.get_tracer("likeness")

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator["OtelRequestSpan"]:
        """Open the span of a request; `traceparent` also says whether to record it."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers, Context())
        span = self._tracer.start_span("request", parent, SpanKind.SERVER)
        token = SPAN.set(span)
        try:
            yield OtelRequestSpan(span)
        finally:
            SPAN.reset(token)
            span.end()

    def stage(
        self, stage: str, started: float, seconds: float, sharers: Sequence[object] = ()
    ) -> None:
        """Add a stage; a forward pass links to the other requests that shared it."""
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, Span, set_span_in_context

        parent = SPAN.get()
        if not isinstance(parent, Span):
            return
        others = [span for span in sharers if isinstance(span, Span) and span is not parent]
        span = self._tracer.start_span(
            stage,
            set_span_in_context(parent, Context()),
            attributes={"likeness.batch_size": len(sharers)} if sharers else None,
            links=[Link(other.get_span_context()) for other in others],
            start_time=_unix_ns(started),
        )
        span.end(_unix_ns(started + seconds))

    def close(self) -> None:
        """Send the last spans, or give up: a lost collector must not delay a restart."""
        timer = threading.Timer(self._patience_s, self._give_up)
        timer.start()
        self._provider.shutdown()
        timer.cancel()


class OtelRequestSpan:
    """Write the outcome of a request to its OpenTelemetry span."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    def answered(self, request: RequestRecord) -> None:
        """Name the span by its route and add the outcome."""
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{request.method} {request.route}")
        attributes: dict[str, str | int | None] = {
            "http.request.method": request.method,
            "http.route": request.route,
            "http.response.status_code": request.status,
            "likeness.request_id": request.request_id,
            "likeness.problem": request.problem,
            "likeness.key": request.key,
        }
        self._span.set_attributes(
            {name: value for name, value in attributes.items() if value is not None}
        )
        if request.status >= 500:
            self._span.set_status(StatusCode.ERROR)


def open_otel(patience_s: float = 3.0) -> OtelTracer:
    """Return a tracer that sends spans as OpenTelemetry's standard variables say.

    They also name the service; without a name it is `likeness`.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "likeness"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracer(provider, exporter.shutdown, patience_s)


def _unix_ns(seconds: float) -> int:
    """Return a moment of `time.perf_counter` in Unix nanoseconds."""
    return time_ns() - round((perf_counter() - seconds) * _NANOSECONDS)
