"""Templates, probes and a slow search, for tests of the store."""

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from models.cohort import NO_COHORT, Cohort
from service.store import Candidate, ExportedTemplate, NewTemplate, Store, SubjectExport

DIMENSION = 8
FINGERPRINT = "f" * 64
MASTER, OTHER_MASTER = bytes(range(32)), bytes(range(32, 64))


class Clock:
    """Return a time that only the test changes."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def vector_of(image: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Return the (d,) float32 unit vector of an image, which its name determines."""
    seed = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def template(
    image: str,
    template_id: str | None = None,
    *,
    fingerprint: str = FINGERPRINT,
    vector: NDArray[np.float32] | None = None,
    expires_at: datetime | None = None,
    photo: bytes | None = None,
) -> NewTemplate:
    """Return a template of an image; without an id of its own it gets a new one each time."""
    return NewTemplate(
        template_id=template_id or f"t{random.getrandbits(64):016x}",
        vector=vector_of(image) if vector is None else vector,
        fingerprint=fingerprint,
        image_sha256=hashlib.sha256(image.encode()).hexdigest(),
        quality={"sharpness": 14.5},
        expires_at=expires_at,
        photo=photo,
    )


def near(axis: int, similarity: float) -> NDArray[np.float32]:
    """Return a (d,) float32 unit vector with a given cosine to an axis."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[axis] = similarity
    vector[(axis + 1) % DIMENSION] = np.sqrt(1 - similarity**2)
    return vector


def cohort_of(name: str, nearest: int = 3) -> Cohort:
    """Return a cohort of 20 faces, which its name determines."""
    return Cohort(np.stack([vector_of(f"{name} {face}") for face in range(20)]), nearest)


def axis(number: int) -> Cohort:
    """Return a cohort of one face: the cohort mean of a vector is its number along that axis."""
    return Cohort(near(number, 1.0)[None], 1)


async def names_found(
    store: Store, image: str, limit: int = 100, collection: str = ""
) -> list[str]:
    found = await store.search(vector_of(image), FINGERPRINT, limit, collection)
    return [candidate.subject for candidate in found]


async def all_exports(store: Store, collection: str = "") -> list[SubjectExport]:
    """Return all subjects of a collection, read in pages of three."""
    exports: list[SubjectExport] = []
    after: str | None = None
    while True:
        page = await store.subjects(after, 3, collection)
        exports += [await store.export(item.subject) for item in page.items]
        if page.next is None:
            return exports
        after = page.next


def expected(
    exports: Sequence[SubjectExport],
    probe: NDArray[np.float32],
    fingerprint: str,
    now: datetime,
    cohort: Cohort,
) -> list[Candidate]:
    """Search by comparing with every template."""
    best = []
    for export in exports:
        live = [
            _candidate(export.subject, each, probe, cohort)
            for each in export.templates
            if each.fingerprint == fingerprint
            and (each.expires_at is None or each.expires_at > now)
        ]
        if live:
            best.append(max(live, key=lambda candidate: candidate.similarity))
    return sorted(best, key=lambda candidate: -candidate.similarity)


def _candidate(
    subject: str, template: ExportedTemplate, probe: NDArray[np.float32], cohort: Cohort
) -> Candidate:
    cosine = float(template.vector @ probe)
    score = cosine - (cohort.mean(template.vector) + cohort.mean(probe)) / 2
    return Candidate(subject, template.template_id, score, cosine)


async def assert_search_agrees(
    store: Store, now: datetime, collection: str = "", cohort: Cohort = NO_COHORT
) -> None:
    """Compare search and counts with the stored templates, for every fingerprint in these tests.

    The cohort is for the most frequent fingerprint; the other has none.
    """
    exports = await all_exports(store, collection)
    counts = await store.count(collection)
    templates = sum(len(export.templates) for export in exports)
    assert (counts.subjects, counts.templates) == (len(exports), templates)
    for fingerprint, by in ((FINGERPRINT, cohort), ("other", NO_COHORT)):
        probe = vector_of("probe")
        found = await store.search(probe, fingerprint, 1000, collection)
        wanted = expected(exports, probe, fingerprint, now, by)
        # Vectors of one image are alike but for their last bits, which depend on the row.
        assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)
        found.sort(key=lambda candidate: candidate.subject)
        wanted.sort(key=lambda candidate: candidate.subject)
        assert [(c.subject, c.template_id) for c in found] == [
            (c.subject, c.template_id) for c in wanted
        ]
        np.testing.assert_allclose(
            [(c.similarity, c.cosine) for c in found],
            [(c.similarity, c.cosine) for c in wanted],
            atol=1e-6,
        )
