"""Remember by which cohort the templates of each bundle are searched."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from models.cohort import NO_COHORT, Cohort

logger = logging.getLogger("likeness")

# Fewer templates are placed in a moment, which is not worth a line.
_MANY_TEMPLATES = 10_000


class Cohorts:
    """Map fingerprints to cohorts; safe to ask from any thread."""

    def __init__(self) -> None:
        self._cohorts: dict[str, Cohort] = {}

    def put(self, fingerprint: str, cohort: Cohort) -> None:
        """Let the vectors of a bundle be scored by a cohort from now on."""
        self._cohorts[fingerprint] = cohort

    def of(self, fingerprint: str, dimension: int) -> Cohort:
        """Return the cohort for the vectors of a bundle: none if it has none of that dimension."""
        return fitting(self._cohorts.get(fingerprint, NO_COHORT), dimension)


def fitting(cohort: Cohort, dimension: int) -> Cohort:
    """Return a cohort, or none if its faces have another dimension than the vectors."""
    return cohort if cohort.faces.shape[1] == dimension else NO_COHORT


@contextmanager
def logged_placing(templates: int) -> Iterator[None]:
    """Log how many templates the block places anew and how long it takes, if they are many."""
    if templates < _MANY_TEMPLATES:
        yield
        return
    logger.info("placing a gallery of %d templates anew, by another cohort", templates)
    began = perf_counter()
    yield
    logger.info("placed a gallery of %d templates in %.1f s", templates, perf_counter() - began)
