"""Erase what has expired: it matches no longer, but is still somebody's face."""

import asyncio
import logging

from service.errors import StoreError
from service.observe.metrics import Metrics
from service.store import Store

logger = logging.getLogger("likeness")

# In one transaction; those who enrol meanwhile wait for it.
_AT_ONCE = 500


async def sweep(store: Store) -> int:
    """Erase everything that has expired; return how many templates. Raises StoreError."""
    erased = 0
    while True:
        templates = (await store.sweep(_AT_ONCE)).templates
        erased += templates
        if templates < _AT_ONCE:
            return erased


async def sweep_forever(store: Store, every_s: float, metrics: Metrics) -> None:
    """Sweep now and then, until cancelled; what is away or damaged is tried again next time."""
    while True:
        try:
            if erased := await sweep(store):
                logger.info("%d templates had expired and are erased", erased)
            metrics.swept()
        except StoreError as error:
            logger.warning("what has expired could not be erased: %s", error.sentence)
        await asyncio.sleep(every_s)
