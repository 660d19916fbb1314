"""The enrolled vectors of a service, for a map of its gallery."""

import random
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from service.gallery_answers import ExportAnswer, SubjectsAnswer, SubjectSummaryAnswer
from service.local import answer
from service.model_answers import ModelAnswer

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class GalleryVectors:
    """Hold unit vectors `(n, d)` of one bundle, and the subject and template of each.

    `others` counts the templates of other bundles, which no map can show beside these.
    """

    vectors: NDArray[np.float32]
    subjects: list[str]
    templates: list[str]
    others: int


async def fetch_vectors(client: httpx.AsyncClient, most: int, seed: int = 0) -> GalleryVectors:
    """Fetch the templates of all subjects, or of as many at random as have `most` of them.

    Raises Refused and TransportError.
    """
    served = answer(await client.get("/model"), ModelAnswer).fingerprint
    vectors: list[list[float]] = []
    subjects: list[str] = []
    templates: list[str] = []
    others = 0
    for subject in _drawn(await _subjects(client), most, seed):
        export = await client.get(f"/subjects/{quote(subject, safe='')}/export")
        if export.status_code == httpx.codes.NOT_FOUND:
            continue  # deleted since it was listed
        for template in answer(export, ExportAnswer).templates:
            if template.fingerprint != served:
                others += 1
                continue
            vectors.append(template.vector)
            subjects.append(subject)
            templates.append(template.template_id)
    return GalleryVectors(np.array(vectors, np.float32), subjects, templates, others)


async def _subjects(client: httpx.AsyncClient) -> list[SubjectSummaryAnswer]:
    found: list[SubjectSummaryAnswer] = []
    after: str | None = None
    while True:
        params = {"limit": str(_PAGE)} | ({} if after is None else {"after": after})
        page = answer(await client.get("/subjects", params=params), SubjectsAnswer)
        found += page.items
        if page.next is None:
            return found
        after = page.next


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
