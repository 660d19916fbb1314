"""Traces: one span for each request and one for each of its stages, if a collector is configured.

OpenTelemetry's own variables name the collector. A span holds no personal data. Only the API of
OpenTelemetry is always installed; its SDK and exporter are an extra, so that only `open_exporter`
imports them.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NoOpTracer,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import InvalidSettings
from service.observe.logs import RequestRecord
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("likeness")

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


@contextmanager
def request_span(tracer: Tracer, headers: Mapping[str, str]) -> Iterator[Span]:
    """Open the span of a request, as a child of the caller's span if `traceparent` names it.

    `traceparent` also says whether to record it.
    """
    # Exceptions are not recorded: their messages can hold personal data.
    with tracer.start_as_current_span(
        "request",
        TraceContextTextMapPropagator().extract(headers, Context()),
        SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def add_outcome(span: Span, request: RequestRecord) -> None:
    """Name the span of a request by its route and add the outcome."""
    span.update_name(f"{request.method} {request.route}")
    attributes: dict[str, str | int | None] = {
        "http.request.method": request.method,
        "http.route": request.route,
        "http.response.status_code": request.status,
        "likeness.request_id": request.request_id,
        "likeness.problem": request.problem,
        "likeness.key": request.key,
    }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if request.status >= 500:
        span.set_status(StatusCode.ERROR)


def add_stage(
    tracer: Tracer, stage: str, started: float, seconds: float, sharers: Sequence[Span] = ()
) -> None:
    """Add a stage to the span of the current request, if that is recorded.

    `started` is of `time.perf_counter`, in seconds. `sharers` are the spans of all requests that
    shared a forward pass, this one included; the stage links to the others.
    """
    request = get_current_span()
    if not request.is_recording():
        return
    others = [span.get_span_context() for span in sharers if span is not request]
    tracer.start_span(
        stage,
        attributes={"likeness.batch_size": len(sharers)} if sharers else None,
        links=[Link(other) for other in others if other.is_valid],
        start_time=_unix_ns(started),
    ).end(_unix_ns(started + seconds))


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
        yield NoOpTracer()
        return
    provider, exporter = open_exporter()
    try:
        yield provider.get_tracer("likeness")
    finally:
        await asyncio.to_thread(close_exporter, provider, exporter)


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


def open_exporter() -> "tuple[TracerProvider, OTLPSpanExporter]":
    """Return a provider of this app's own, not the global one, and the exporter of its spans.

    OpenTelemetry's standard variables say where the spans go. They also name the service; without
    a name it is `likeness`.
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
    return provider, exporter


def close_exporter(
    provider: "TracerProvider", exporter: "OTLPSpanExporter", patience_s: float = 3.0
) -> None:
    """Send the last spans, or give up: a lost collector must not delay a restart."""
    timer = threading.Timer(patience_s, exporter.shutdown)
    timer.start()
    provider.shutdown()
    timer.cancel()


def _unix_ns(seconds: float) -> int:
    """Return a moment of `time.perf_counter` in Unix nanoseconds."""
    return time_ns() - round((perf_counter() - seconds) * _NANOSECONDS)
