"""The cohorts by which the templates of each bundle are scored in a search."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from models.cohort import NO_COHORT, Cohort

logger = logging.getLogger("likeness")

# Fewer templates take so little time that no line is logged.
_MANY_TEMPLATES = 10_000


class Cohorts:
    """Map fingerprints to cohorts; safe to use from any thread."""

    def __init__(self) -> None:
        self._cohorts: dict[str, Cohort] = {}

    def put(self, fingerprint: str, cohort: Cohort) -> None:
        """Score the vectors of a bundle by a cohort from now on."""
        self._cohorts[fingerprint] = cohort

    def of(self, fingerprint: str, dimension: int) -> Cohort:
        """Return the cohort for the vectors of a bundle, NO_COHORT if none has that dimension."""
        return fitting(self._cohorts.get(fingerprint, NO_COHORT), dimension)


def fitting(cohort: Cohort, dimension: int) -> Cohort:
    """Return the cohort, or NO_COHORT if its faces have another dimension than the vectors."""
    return cohort if cohort.faces.shape[1] == dimension else NO_COHORT


@contextmanager
def logged_placing(templates: int) -> Iterator[None]:
    """Log how many templates the block prepares for search and how long it takes, if many."""
    if templates < _MANY_TEMPLATES:
        yield
        return
    logger.info("preparing %d templates for search by another cohort", templates)
    began = perf_counter()
    yield
    logger.info("prepared %d templates for search in %.1f s", templates, perf_counter() - began)
