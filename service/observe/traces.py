"""Traces: a span for each request and one for each of its stages, where somebody collects them.

The collector is told by OpenTelemetry's own variables. What is traced names nobody.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter, time_ns
from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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
    from service.observe.traces import open_otel

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


_NANOSECONDS: Final = 1_000_000_000


class OtelTracer:
    """Be a `service.observe.traces.Tracer`; the provider is this app's own, not the process's.

    At the end `give_up` is called where sending what is left takes more than `patience_s`.
    """

    def __init__(
        self,
        provider: TracerProvider,
        give_up: Callable[[], None] = lambda: None,
        patience_s: float = 3.0,
    ) -> None:
        self._provider = provider
        self._give_up = give_up
        self._patience_s = patience_s
        self._tracer = provider.get_tracer("likeness")

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator["OtelRequestSpan"]:
        """Open the span of a request; the caller also says whether it is recorded."""
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
        """Add a stage; a forward pass links to the requests that shared it."""
        parent = SPAN.get()
        if not isinstance(parent, Span):
            return
        others = [one for one in sharers if isinstance(one, Span) and one is not parent]
        span = self._tracer.start_span(
            stage,
            set_span_in_context(parent, Context()),
            attributes={"likeness.batch_size": len(sharers)} if sharers else None,
            links=[Link(other.get_span_context()) for other in others],
            start_time=_moment(started),
        )
        span.end(_moment(started + seconds))

    def close(self) -> None:
        """Send what is left, or give up: a collector that is gone must not hold up a restart."""
        timer = threading.Timer(self._patience_s, self._give_up)
        timer.start()
        self._provider.shutdown()
        timer.cancel()


class OtelRequestSpan:
    """Be a `service.observe.traces.RequestSpan`."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, request: Answered) -> None:
        """Name the span by its route, and say how it went."""
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
    """Start to send spans where the standard variables say, under the name that they say."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "likeness"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracer(provider, exporter.shutdown, patience_s)


def _moment(seconds: float) -> int:
    """Return Unix nanoseconds of a moment of `time.perf_counter`."""
    return time_ns() - round((perf_counter() - seconds) * _NANOSECONDS)
