"""Erase expired templates: they no longer match, but they still are personal data."""

import asyncio
import logging

from service.errors import StoreError
from service.observe.metrics import Metrics
from service.store.protocol import Gallery

logger = logging.getLogger("likeness")

# The most templates in one transaction: enrolments wait until it ends.
_PER_TRANSACTION = 500


async def sweep(store: Gallery) -> int:
    """Erase all expired templates; return how many there were. Raises StoreError."""
    erased = 0
    while True:
        templates = (await store.sweep(_PER_TRANSACTION)).templates
        erased += templates
        if templates < _PER_TRANSACTION:
            return erased


async def sweep_forever(store: Gallery, every_s: float, metrics: Metrics) -> None:
    """Sweep every `every_s` seconds until cancelled; a sweep that fails is tried again then."""
    while True:
        try:
            if erased := await sweep(store):
                logger.info("%d templates had expired and are erased", erased)
            metrics.swept()
        except StoreError as error:
            logger.warning("expired templates could not be erased: %s", error.sentence)
        await asyncio.sleep(every_s)
