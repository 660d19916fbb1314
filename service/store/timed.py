"""A store that measures the time of each operation."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import cast

from service.observe.metrics import Metrics
from service.store import Store


class _TimedStore:
    """Forward every method of the protocol to a store, and observe how long it takes."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._store, operation)

        async def timed(*args: object, **kwargs: object) -> object:
            started = perf_counter()
            try:
                return await method(*args, **kwargs)
            finally:
                self._metrics.store(operation, perf_counter() - started)

        return timed


def timed_store(store: Store, metrics: Metrics) -> Store:
    """Return a store that observes the time of each operation, including failed ones."""
    return cast(Store, _TimedStore(store, metrics))
