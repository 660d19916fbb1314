"""Metrics for Prometheus: their catalogue, their buckets, and `Metrics`, one registry per app."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from opentelemetry.trace import NoOpTracer, Tracer
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from models.decision import Outcome
from service.errors import STATUS
from service.observe.traces import add_stage

if TYPE_CHECKING:
    from models.photo.quality import Quality

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Stage = Literal[
    "read", "liveness", "decode", "detect", "align", "queue", "forward", "store", "search"
]
DropReason = Literal[
    "cancelled", "deadline", "queue_full", "shutdown", "stalled", "stopped", "device_lost"
]
FailReason = Literal["raised", "out_of_memory", "wrong_rows", "stalled", "device_lost"]
ShadowDropReason = Literal["busy", "no_template", "no_point", "failed"]


@dataclass(frozen=True, slots=True)
class MetricDescription:
    """Hold the help text of a metric and the names of its labels; each label has few values."""

    help_text: str
    labels: tuple[str, ...] = ()


# All metrics of /metrics, in the order in which a request meets them.
CATALOGUE: Final[Mapping[str, MetricDescription]] = MappingProxyType(
    {
        "likeness_requests_total": MetricDescription("Requests answered.", ("route", "code")),
        "likeness_problems_total": MetricDescription(
            "Requests that were refused or failed, by the code of the error.", ("problem",)
        ),
        "likeness_request_seconds": MetricDescription(
            "Time from the first byte of a request to its answer.", ("route",)
        ),
        "likeness_inflight": MetricDescription("Requests in work now."),
        "likeness_stage_seconds": MetricDescription("Time of each stage of a request.", ("stage",)),
        "likeness_faces_found": MetricDescription("Faces found in an image."),
        "likeness_quality": MetricDescription(
            "Sharpness, brightness, size in pixels and misfit of embedded faces.", ("measure",)
        ),
        "likeness_queue_depth": MetricDescription("Faces waiting for the encoder now."),
        "likeness_batch_size": MetricDescription("Faces in a forward pass."),
        "likeness_batch_seconds": MetricDescription("Time of a forward pass."),
        "likeness_batch_limit": MetricDescription(
            "Largest forward pass that memory allows now, in faces."
        ),
        "likeness_batch_failures_total": MetricDescription(
            "Forward passes that failed.", ("reason",)
        ),
        "likeness_jobs_dropped_total": MetricDescription(
            "Faces that left the queue without an answer.", ("reason",)
        ),
        "likeness_score": MetricDescription("Similarities of decisions."),
        "likeness_score_margin": MetricDescription(
            "Similarities of decisions, minus their threshold."
        ),
        "likeness_decisions_total": MetricDescription("Decisions.", ("decision",)),
        "likeness_enrolment_refusals_total": MetricDescription(
            "Photos refused at enrolment.", ("reason",)
        ),
        "likeness_enrolment_warnings_total": MetricDescription(
            "Warnings about photos that were enrolled.", ("reason",)
        ),
        "likeness_liveness_total": MetricDescription("Liveness checks.", ("outcome",)),
        "likeness_connections_ended_total": MetricDescription(
            "Connections closed without an answer to a request.", ("reason",)
        ),
        "likeness_shadow_decisions_total": MetricDescription(
            "Decisions of the live bundle and of the second bundle on the same photos.",
            ("live", "candidate"),
        ),
        "likeness_shadow_score": MetricDescription(
            "Similarities of both bundles on the same photos, by fingerprint.", ("bundle",)
        ),
        "likeness_shadow_seconds": MetricDescription("Time of a decision of the second bundle."),
        "likeness_shadow_dropped_total": MetricDescription(
            "Requests chosen for the second bundle that it did not decide.", ("reason",)
        ),
        "likeness_store_seconds": MetricDescription(
            "Time of an operation of the store, including failed ones.", ("operation",)
        ),
        "likeness_store_up": MetricDescription(
            "1 if the store answered when the metrics were requested."
        ),
        "likeness_templates": MetricDescription("Templates in the store at its last answer."),
        "likeness_damaged_values": MetricDescription(
            "Damaged values in the store that this process met and left out."
        ),
        "likeness_swept_timestamp_seconds": MetricDescription(
            "When expired templates were last erased, in Unix time."
        ),
        "likeness_ready": MetricDescription("1 if `/readyz` would answer 200."),
        "likeness_loop_lag_seconds": MetricDescription("Delay of the event loop."),
        "likeness_build_info": MetricDescription(
            "1 for each loaded bundle, with the version, device and engine that run it.",
            ("version", "bundle", "fingerprint", "device", "engine", "precision"),
        ),
    }
)


_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_FACES = (0, 1, 2, 3, 5, 10, 20)
# Finer at the top, where the thresholds are.
_SCORES = tuple(step / 20 for step in range(-4, 16)) + tuple(step / 40 for step in range(32, 41))
_MARGINS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2)
# All measures share one scale, because a histogram has only one: ratios below 1, sharpness,
# brightness and pixels. It has an edge at each value where `models.photo.quality` reports an issue.
_QUALITY = (
    0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 2, 4, 6, 8, 12, 16, 24, 32, 40, 48, 64, 96, 128,
    160, 192, 225, 256, 384, 512, 1024,
)  # fmt: skip
_MEASURES = ("face_px", "sharpness", "brightness", "misfit")


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Hold the seconds that one photo spent in each stage; 0 for a stage that is still to come."""

    decode_s: float = 0.0
    detect_s: float = 0.0
    align_s: float = 0.0
    queue_s: float = 0.0
    forward_s: float = 0.0


class Metrics:
    """Hold every metric of one app; used from the event loop only.

    `timed` reports to `tracer` as well.
    """

    def __init__(self) -> None:
        self.tracer: Tracer = NoOpTracer()
        # A switch of the whole process, which runs one app.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = self._counter("likeness_requests_total")
        # Known labels start at 0, so that a rate sees the first increase too.
        self._problems = self._counter("likeness_problems_total", STATUS)
        self._request_seconds = self._histogram("likeness_request_seconds", _REQUEST_S)
        self._stage_seconds = self._histogram("likeness_stage_seconds", _STAGE_S)
        self._inflight = self._gauge("likeness_inflight")
        self._faces = self._histogram("likeness_faces_found", _FACES)
        self._quality = self._histogram("likeness_quality", _QUALITY)
        for measure in _MEASURES:
            self._quality.labels(measure)
        self._queue_depth = self._gauge("likeness_queue_depth")
        self._batch_size = self._histogram("likeness_batch_size", _SIZES)
        self._batch_seconds = self._histogram("likeness_batch_seconds", _STAGE_S)
        self._batch_limit = self._gauge("likeness_batch_limit")
        self._failures = self._counter("likeness_batch_failures_total", get_args(FailReason))
        self._dropped = self._counter("likeness_jobs_dropped_total", get_args(DropReason))
        self._score = self._histogram("likeness_score", _SCORES)
        self._margin = self._histogram("likeness_score_margin", _MARGINS)
        self._decisions = self._counter("likeness_decisions_total", get_args(Outcome))
        self._refusals = self._counter("likeness_enrolment_refusals_total")
        self._warnings = self._counter("likeness_enrolment_warnings_total")
        self._liveness = self._counter("likeness_liveness_total")
        self._connections = self._counter("likeness_connections_ended_total")
        self._shadow_decisions = self._counter("likeness_shadow_decisions_total")
        self._shadow_score = self._histogram("likeness_shadow_score", _SCORES)
        self._shadow_seconds = self._histogram("likeness_shadow_seconds", _REQUEST_S)
        self._shadow_dropped = self._counter(
            "likeness_shadow_dropped_total", get_args(ShadowDropReason)
        )
        self._store_seconds = self._histogram("likeness_store_seconds", _STAGE_S)
        self._store_up = self._gauge("likeness_store_up")
        self._templates = self._gauge("likeness_templates")
        self._damaged = self._gauge("likeness_damaged_values")
        self._swept = self._gauge("likeness_swept_timestamp_seconds")
        self._ready = self._gauge("likeness_ready")
        self._loop_lag = self._histogram("likeness_loop_lag_seconds", _LAG_S)
        self._build = self._gauge("likeness_build_info")

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request; `route` is a template, never a path."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def problem(self, code: str) -> None:
        """Count a request that was refused or failed."""
        self._problems.labels(code).inc()

    def inflight(self, requests: int) -> None:
        """Set how many requests hold a permit."""
        self._inflight.set(requests)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Observe the time spent in one stage."""
        self._stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Observe how long the block takes, whether or not it succeeds."""
        started = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - started
            self.stage(stage, seconds)
            add_stage(self.tracer, stage, started, seconds)

    def stages(self, times: StageTimes, faces: int) -> None:
        """Observe all stages of one photo, and the number of faces in it."""
        self.stage("decode", times.decode_s)
        self.stage("detect", times.detect_s)
        self.stage("align", times.align_s)
        self.stage("queue", times.queue_s)
        self.stage("forward", times.forward_s)
        self._faces.observe(faces)

    def faces(self, faces: int) -> None:
        """Observe the number of faces in an image that was refused."""
        self._faces.observe(faces)

    def quality(self, face: "Quality") -> None:
        """Observe the quality measures of a face."""
        for measure in _MEASURES:
            self._quality.labels(measure).observe(getattr(face, measure))

    def decided(self, decision: Outcome, similarity: float, threshold: float) -> None:
        """Count a decision and observe its similarity and margin."""
        self._decisions.labels(decision).inc()
        self._score.observe(similarity)
        self._margin.observe(similarity - threshold)

    def shadowed(self, live: Outcome, candidate: Outcome, seconds: float) -> None:
        """Count a decision of the live bundle and that of the second bundle."""
        self._shadow_decisions.labels(live, candidate).inc()
        self._shadow_seconds.observe(seconds)

    def shadow_score(self, fingerprint: str, similarity: float) -> None:
        """Observe a similarity of one of the two bundles on the same photos."""
        self._shadow_score.labels(fingerprint[:12]).observe(similarity)

    def shadow_dropped(self, reason: ShadowDropReason) -> None:
        """Count a request that was chosen for the second bundle and not decided by it."""
        self._shadow_dropped.labels(reason).inc()

    def enrolment_refused(self, reason: str) -> None:
        """Count a photo that was refused at enrolment."""
        self._refusals.labels(reason).inc()

    def enrolment_warned(self, reason: str) -> None:
        """Count a warning about a photo that was enrolled."""
        self._warnings.labels(reason).inc()

    def liveness(self, outcome: str) -> None:
        """Count a liveness check."""
        self._liveness.labels(outcome).inc()

    def connection_ended(self, reason: str) -> None:
        """Count a connection that was closed before a request was complete."""
        self._connections.labels(reason).inc()

    def store(self, operation: str, seconds: float) -> None:
        """Observe an operation of the store."""
        self._store_seconds.labels(operation).observe(seconds)

    def store_up(self, templates: int | None) -> None:
        """Set how many templates the store holds; None if it does not answer."""
        self._store_up.set(templates is not None)
        if templates is not None:
            self._templates.set(templates)

    def damaged(self, values: int) -> None:
        """Set the number of damaged values in the store."""
        self._damaged.set(values)

    def swept(self) -> None:
        """Record that all expired templates are erased."""
        self._swept.set(time())

    def ready(self, ready: bool) -> None:
        """Set whether requests can be served."""
        self._ready.set(ready)

    def queue_grew(self, faces: int) -> None:
        """Add to the number of faces that wait for an encoder; `faces` may be negative."""
        self._queue_depth.inc(faces)

    def batch(self, size: int, seconds: float) -> None:
        """Observe a forward pass."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def batch_limit(self, limit: int) -> None:
        """Set the largest forward pass that memory allows now."""
        self._batch_limit.set(limit)

    def dropped(self, reason: str) -> None:
        """Count a face that left the queue without an answer."""
        self._dropped.labels(reason).inc()

    def batch_failed(self, reason: str) -> None:
        """Count a forward pass that failed."""
        self._failures.labels(reason).inc()

    def loaded(self, **build: str) -> None:
        """Show a loaded bundle, by the labels of `likeness_build_info`."""
        self._build.labels(**build).set(1)

    async def sample_loop_lag(self, every_s: float = 0.25) -> None:
        """Observe, until cancelled, how late the event loop wakes this coroutine."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + every_s
            await asyncio.sleep(every_s)
            self._loop_lag.observe(max(0.0, loop.time() - due))

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, of content type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _counter(self, name: str, label_values: Iterable[str] = ()) -> Counter:
        info = CATALOGUE[name]
        counter = Counter(name, info.help_text, info.labels, registry=self._registry)
        for value in label_values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str) -> Gauge:
        info = CATALOGUE[name]
        return Gauge(name, info.help_text, info.labels, registry=self._registry)

    def _histogram(self, name: str, buckets: Sequence[float]) -> Histogram:
        info = CATALOGUE[name]
        return Histogram(
            name, info.help_text, info.labels, buckets=buckets, registry=self._registry
        )


class QueueMetrics:
    """Observe one of several batchers; the gauge shows the sum of their queues."""

    def __init__(self, metrics: Metrics) -> None:
        self._depth = 0
        self._metrics = metrics
        self.batch = metrics.batch
        self.batch_limit = metrics.batch_limit
        self.dropped = metrics.dropped
        self.batch_failed = metrics.batch_failed

    def queue_depth(self, depth: int) -> None:
        """Set the number of faces that wait in this queue."""
        self._metrics.queue_grew(depth - self._depth)
        self._depth = depth
