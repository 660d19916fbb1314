"""Count and time what the service does, for Prometheus; one registry per app."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Stage = Literal["read", "decode", "detect", "align", "queue", "forward", "store", "search"]

# What /metrics shows, name and meaning, in the order of the way of a request.
CATALOGUE: Final[dict[str, str]] = {
    "likeness_requests_total": "Requests answered, by route template and status code.",
    "likeness_request_seconds": "Time from the first byte of a request to its answer.",
    "likeness_inflight": "Requests that hold a permit now.",
    "likeness_stage_seconds": "Time spent in each stage of the flow.",
    "likeness_faces_found": "Faces seen in an image.",
    "likeness_queue_depth": "Faces that wait for the encoder now.",
    "likeness_batch_size": "Faces in a forward pass.",
    "likeness_batch_seconds": "Time of a forward pass.",
    "likeness_batch_limit": "Most faces in one forward pass, as memory allows now.",
    "likeness_batch_failures_total": "Forward passes that failed, by reason.",
    "likeness_jobs_dropped_total": "Faces that left the queue without an answer, by reason.",
    "likeness_score": "Similarities that were decided on.",
    "likeness_decisions_total": "Decisions, by outcome.",
    "likeness_templates": "Templates in the store.",
    "likeness_loop_lag_seconds": "How late the event loop wakes up.",
}

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_FACES = (0, 1, 2, 3, 5, 10, 20)
# Finer at the top: that is where thresholds lie.
_SCORES = tuple(step / 20 for step in range(-4, 16)) + tuple(step / 40 for step in range(32, 41))


class StageTimes(Protocol):
    """Give the seconds that one photo spent in each stage."""

    @property
    def decode_s(self) -> float: ...
    @property
    def detect_s(self) -> float: ...
    @property
    def align_s(self) -> float: ...
    @property
    def queue_s(self) -> float: ...
    @property
    def forward_s(self) -> float: ...


class Metrics:
    """Hold every metric of one app; used from the event loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("likeness_requests_total", "route", "code")
        self._request_seconds = self._histogram("likeness_request_seconds", _REQUEST_S, "route")
        self._stage_seconds = self._histogram("likeness_stage_seconds", _STAGE_S, "stage")
        self._inflight = self._gauge("likeness_inflight")
        self._queue_depth = self._gauge("likeness_queue_depth")
        self._batch_size = self._histogram("likeness_batch_size", _SIZES)
        self._batch_seconds = self._histogram("likeness_batch_seconds", _STAGE_S)
        self._batch_limit = self._gauge("likeness_batch_limit")
        self._dropped = self._counter("likeness_jobs_dropped_total", "reason")
        self._failures = self._counter("likeness_batch_failures_total", "reason")
        self._decisions = self._counter("likeness_decisions_total", "decision")
        self._score = self._histogram("likeness_score", _SCORES)
        self._faces = self._histogram("likeness_faces_found", _FACES)
        self._loop_lag = self._histogram("likeness_loop_lag_seconds", _LAG_S)
        self._templates = self._gauge("likeness_templates")

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request; `route` is a template, never a path."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def inflight(self, requests: int) -> None:
        """Set how many requests hold a permit."""
        self._inflight.set(requests)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Observe the time spent in one stage."""
        self._stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Observe how long what is done inside takes, whether or not it succeeds."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stage(stage, perf_counter() - started)

    def stages(self, took: StageTimes, faces: int) -> None:
        """Observe all stages of one photo, and the faces seen in it."""
        self.stage("decode", took.decode_s)
        self.stage("detect", took.detect_s)
        self.stage("align", took.align_s)
        self.stage("queue", took.queue_s)
        self.stage("forward", took.forward_s)
        self._faces.observe(faces)

    def faces(self, faces: int) -> None:
        """Observe the faces seen in an image that got no further."""
        self._faces.observe(faces)

    def decided(self, decision: str, similarity: float) -> None:
        """Count a decision and observe the similarity it was taken on."""
        self._decisions.labels(decision).inc()
        self._score.observe(similarity)

    def templates(self, templates: int) -> None:
        """Set how many templates the store holds."""
        self._templates.set(templates)

    def queue_grew(self, faces: int) -> None:
        """Add to how many faces wait for an encoder; negative where they became fewer."""
        self._queue_depth.inc(faces)

    def batch(self, size: int, seconds: float) -> None:
        """Observe a forward pass."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def batch_limit(self, limit: int) -> None:
        """Set the most faces that one forward pass may hold now."""
        self._batch_limit.set(limit)

    def dropped(self, reason: str) -> None:
        """Count a face that left the queue without an answer."""
        self._dropped.labels(reason).inc()

    def batch_failed(self, reason: str) -> None:
        """Count a forward pass that failed."""
        self._failures.labels(reason).inc()

    async def sample_loop_lag(self, every_s: float = 0.25) -> None:
        """Observe, until cancelled, how late the event loop wakes this coroutine up."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + every_s
            await asyncio.sleep(every_s)
            self._loop_lag.observe(max(0.0, loop.time() - due))

    def render(self) -> bytes:
        """Return everything in Prometheus' text format, of content type CONTENT_TYPE."""
        return generate_latest(_WithoutCreated(self._registry))

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, CATALOGUE[name], labels, registry=self._registry)

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, CATALOGUE[name], registry=self._registry)

    def _histogram(self, name: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, CATALOGUE[name], labels, buckets=buckets, registry=self._registry)


class QueueMetrics:
    """Observe one batcher among several: the depths of their queues are summed."""

    def __init__(self, metrics: Metrics) -> None:
        self._depth = 0
        self._metrics = metrics
        self.batch = metrics.batch
        self.batch_limit = metrics.batch_limit
        self.dropped = metrics.dropped
        self.batch_failed = metrics.batch_failed

    def queue_depth(self, depth: int) -> None:
        """Set how many faces wait in this queue."""
        self._metrics.queue_grew(depth - self._depth)
        self._depth = depth


class _WithoutCreated(CollectorRegistry):
    """Leave out when each series was created: the library's own switch is global."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._inner = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
