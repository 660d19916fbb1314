"""Draw a map of a part of the gallery while the service runs."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.face_map import Layout, lay_out
from service.errors import SubjectNotFound
from service.recognition.service import Service
from service.schemas.gallery import MapAnswer, MapPointAnswer
from service.store import GalleryTemplate, SubjectSummary

# t-SNE takes a second or two for so many.
MOST_TEMPLATES = 500
_PAGE = 100


@dataclass(frozen=True, slots=True)
class SubjectsPage:
    """Hold subjects in the order of their names; `next` is the last name if others follow."""

    subjects: list[SubjectSummary]
    next: str | None


async def draw_map(service: Service, after: str | None, limit: int) -> MapAnswer:
    """Map at most `limit` templates of the subjects after a name; return no vectors."""
    recogniser = await service.active()
    fingerprint = recogniser.fingerprint
    page = await _whole_subjects(service, after, limit)
    named: list[tuple[str, GalleryTemplate]] = []
    for each in page.subjects:
        try:
            stored = await service.store.templates_of(each.subject)
        except SubjectNotFound:
            continue  # the subject was deleted since it was listed
        named += [(each.subject, template) for template in stored.templates]
    # A single subject may have more templates than fit.
    kept = [pair for pair in named if pair[1].fingerprint == fingerprint][:limit]
    vectors = np.array([template.vector for _, template in kept], np.float32)
    layout = await _lay_out(vectors.reshape(len(kept), recogniser.bundle.dimension))
    return MapAnswer(
        points=[
            MapPointAnswer(
                subject=subject,
                template_id=template.template_id,
                x=round(float(x), 3),
                y=round(float(y), 3),
            )
            for (subject, template), (x, y) in zip(kept, layout.points, strict=True)
        ],
        others=sum(template.fingerprint != fingerprint for _, template in named),
        method=layout.method,
        complete=layout.complete,
        next=page.next,
    )


async def _whole_subjects(service: Service, after: str | None, limit: int) -> SubjectsPage:
    """Return whole subjects while their templates fit, at least one subject."""
    subjects: list[SubjectSummary] = []
    count = 0
    while True:
        page = await service.store.subjects(after, _PAGE)
        for each in page.items:
            if subjects and count + each.templates > limit:
                return SubjectsPage(subjects, subjects[-1].subject)
            subjects.append(each)
            count += each.templates
        if page.next is None:
            return SubjectsPage(subjects, None)
        after = page.next


async def _lay_out(vectors: NDArray[np.float32]) -> Layout:
    """Compute in a thread, and wait for it even if cancelled: a thread cannot be stopped."""
    drawing = asyncio.create_task(asyncio.to_thread(lay_out, vectors))
    try:
        return await asyncio.shield(drawing)
    finally:
        await asyncio.wait({drawing})
