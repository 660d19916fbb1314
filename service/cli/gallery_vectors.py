"""The enrolled vectors of a service, for a map of its gallery."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.client.aio import AsyncLikeness
from service.client.errors import NotFound
from service.schemas.gallery import SubjectSummaryAnswer


@dataclass(frozen=True, slots=True)
class GalleryVectors:
    """Hold unit vectors `(n, d)` of one bundle, and the subject and template of each.

    `others` counts the templates of other bundles, which no map can show beside these.
    """

    vectors: NDArray[np.float32]
    subjects: list[str]
    templates: list[str]
    others: int


async def fetch_vectors(likeness: AsyncLikeness, most: int, seed: int = 0) -> GalleryVectors:
    """Fetch the templates of all subjects, or of as many at random as have `most` of them.

    Raises Refused and TransportError.
    """
    served = (await likeness.model()).fingerprint
    listed = [subject async for subject in likeness.subjects()]
    vectors: list[list[float]] = []
    subjects: list[str] = []
    templates: list[str] = []
    others = 0
    for subject in _drawn(listed, most, seed):
        try:
            export = await likeness.export(subject)
        except NotFound:
            continue  # deleted since it was listed
        for template in export.templates:
            if template.fingerprint != served:
                others += 1
                continue
            vectors.append(template.vector)
            subjects.append(subject)
            templates.append(template.template_id)
    return GalleryVectors(np.array(vectors, np.float32), subjects, templates, others)


def _drawn(subjects: list[SubjectSummaryAnswer], most: int, seed: int) -> list[str]:
    """Return subjects with `most` templates or few more: a subject is taken whole."""
    order = random.Random(seed).sample(subjects, len(subjects))
    kept, count = [], 0
    for subject in order:
        if count >= most:
            break
        kept.append(subject.subject)
        count += subject.templates
    return sorted(kept)
