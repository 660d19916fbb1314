"""Time every operation of a store, whichever store it is."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import cast

from service.observe.metrics import Metrics
from service.store import Store


class _TimedStore:
    """Be a Store by asking one: two dozen methods that all do the same need not be written."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[object]]:
        ask = getattr(self._store, operation)

        async def timed(*given: object, **named: object) -> object:
            started = perf_counter()
            try:
                return await ask(*given, **named)
            finally:
                self._metrics.store(operation, perf_counter() - started)

        return timed


def timed_store(store: Store, metrics: Metrics) -> Store:
    """Return a store whose operations are observed, failed ones included."""
    return cast(Store, _TimedStore(store, metrics))
