"""What Prometheus' library has no words for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.observe.catalogue import CATALOGUE


class ByLabel(Collector):
    """Observe one histogram whose buckets differ by its only label.

    Pixels and ratios share a name and no scale; the library has one set of buckets for all.
    """

    def __init__(
        self, name: str, buckets: Mapping[str, Sequence[float]], registry: CollectorRegistry
    ) -> None:
        about = CATALOGUE[name]
        self._histograms = {
            value: Histogram(name, about.meaning, about.labels, buckets=edges, registry=None)
            for value, edges in buckets.items()
        }
        for value, histogram in self._histograms.items():
            histogram.labels(value)
        registry.register(self)

    def observe(self, value: str, amount: float) -> None:
        """Observe an amount under a value of the label."""
        self._histograms[value].labels(value).observe(amount)

    def collect(self) -> Iterable[Metric]:
        first, *others = (metric for each in self._histograms.values() for metric in each.collect())
        first.samples += [sample for other in others for sample in other.samples]
        return [first]


class WithoutCreated(CollectorRegistry):
    """Leave out when each series was created: the library's own switch is global."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._inner = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
