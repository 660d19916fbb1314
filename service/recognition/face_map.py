"""A map of a part of the gallery, drawn while the service serves."""

import asyncio
import threading
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from models.evaluation.layout import Layout, lay_out
from service.errors import SubjectNotFound
from service.recognition.service import Service
from service.schemas.gallery import MapAnswer, MapPointAnswer
from service.store import GalleryTemplate, SubjectSummary

_LONGEST_S = 10.0
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Part:
    """Hold subjects in the order of their names, and the last one's name if others follow."""

    subjects: list[SubjectSummary]
    next: str | None


async def draw_map(service: Service, after: str | None, limit: int) -> MapAnswer:
    """Map the templates of the subjects after a name, `limit` at most; vectors stay here."""
    serving = await service.serving()
    fingerprint = serving.fingerprint
    part = await _part(service, after, limit)
    named: list[tuple[str, GalleryTemplate]] = []
    for each in part.subjects:
        try:
            held = await service.store.templates_of(each.subject)
        except SubjectNotFound:
            continue  # deleted since it was listed
        named += [(each.subject, template) for template in held.templates]
    # A subject with more templates than fit is cut.
    kept = [pair for pair in named if pair[1].fingerprint == fingerprint][:limit]
    vectors = np.array([template.vector for _, template in kept], np.float32)
    layout = await _lay_out(vectors.reshape(len(kept), serving.bundle.dimension))
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
        complete=layout.complete,
        next=part.next,
    )


async def _part(service: Service, after: str | None, limit: int) -> Part:
    """Take whole subjects while their templates fit, one subject at least."""
    taken: list[SubjectSummary] = []
    count = 0
    while True:
        page = await service.store.subjects(after, _PAGE)
        for each in page.items:
            if taken and count + each.templates > limit:
                return Part(taken, taken[-1].subject)
            taken.append(each)
            count += each.templates
        if page.next is None:
            return Part(taken, None)
        after = page.next


async def _lay_out(vectors: NDArray[np.float32]) -> Layout:
    """Compute beside the event loop; what is cancelled or takes too long stops within a step."""
    stopped = threading.Event()
    end = monotonic() + _LONGEST_S
    try:
        return await asyncio.to_thread(
            lay_out, vectors, lambda: not stopped.is_set() and monotonic() < end
        )
    finally:
        stopped.set()
