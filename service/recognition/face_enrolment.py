"""Enrol every face of a photo, each as a subject of its own, in a named collection."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.errors import FaceTooSmall, NoFace
from service.errors import LowQuality
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Probe
from service.recognition.hygiene import Standard, low_quality
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.terms import without_terms
from service.recognition.walk import new_template


@dataclass(frozen=True, slots=True)
class SeenFace:
    """Hold a face by every bundle, the serving one first, and why it would make a bad template."""

    probes: tuple[Probe, ...]
    poor: LowQuality | None

    @property
    def probe(self) -> Probe:
        return self.probes[0]


@dataclass(frozen=True, slots=True)
class NewFace:
    """Name a face that is to be a subject, and its one template."""

    subject: str
    template_id: str
    seen: SeenFace
    metadata: Mapping[str, str]


async def see_faces(
    service: Service, serving: Recogniser, photo: bytes, standard: Standard, caller: Caller
) -> list[SeenFace]:
    """Take the faces of a photo through every bundle; largest first, none if there is none.

    During a change of bundle all find the same faces: detecting is no part of a bundle. Raises
    InvalidRequest where consent is asked for, which nobody gave here.
    """
    without_terms(required=service.settings.require_consent)
    most = service.settings.max_images
    others = [each for each in service.recognisers if each is not serving]
    try:
        made = [await each.pipeline.probe_all(photo, most, caller) for each in (serving, *others)]
    except (NoFace, FaceTooSmall):
        return []
    return [
        SeenFace(probes, low_quality(probes[0].report.quality, probes[0].template, standard))
        for probes in zip(*made, strict=True)
    ]


async def enroll_faces(
    service: Service, collection: str, photo: bytes, faces: Sequence[NewFace], by: str | None
) -> None:
    """Store faces of a photo; one that is there already stays as it is.

    Raises CollectionNotFound; what is stored by then stays.
    """
    for face in faces:
        templates = [
            new_template(service, photo, probe, face.template_id) for probe in face.seen.probes
        ]
        # Shielded: once the store has begun, the outcome must not depend on the caller staying.
        with service.metrics.timed("store"):
            await asyncio.shield(
                service.store.enroll(
                    face.subject, templates, face.metadata, by=by, collection=collection
                )
            )
