"""Vet new photos against what is stored: ask the store, and let `hygiene` decide."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

from models.decision import Template
from models.errors import LikenessError
from service.errors import EnrolmentError, SubjectNotFound
from service.pipeline.pipeline import Probe
from service.recognition.hygiene import (
    New,
    Standard,
    agreement_floor,
    alarm_point,
    judge,
    low_quality,
)
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.schemas.recognition import CandidateAnswer, DuplicateCheckAnswer
from service.schemas.requests import EnrollRequest

# Those a face resembles most tell enough.
_DUPLICATES = 5

Doubts = Mapping[int, Sequence[EnrolmentError]]


async def vet(
    service: Service,
    serving: Recogniser,
    form: EnrollRequest,
    probes: Sequence[Probe | LikenessError],
) -> tuple[list[Probe | LikenessError], Doubts]:
    """Turn photos that make bad templates into errors; return the doubts about others by place.

    Two first enrolments of one subject at the same moment see nothing of each other and may
    both pass; whoever comes next is compared with both.
    """
    points = serving.bundle.operating_points
    standard = Standard(
        service.settings.enroll_quality,
        agreement_floor(points),
        form.accept_quality,
        form.accept_inconsistent,
    )
    usable = {at: probe for at, probe in enumerate(probes) if isinstance(probe, Probe)}
    held = await _held(service, form.subject, serving)
    known: frozenset[str] = frozenset()
    # Only a photo that would be refused has to be looked for.
    if any(
        low_quality(probe.report.quality, probe.template, standard) for probe in usable.values()
    ):
        known = await _digests(service, form.subject, held)
    new = [
        New(probe.template, probe.report.quality, sha256(form.image[at]).hexdigest() in known)
        for at, probe in usable.items()
    ]
    vetted, doubts = list(probes), {}
    for at, verdict in zip(usable, judge(new, list(held.values()), standard), strict=True):
        if verdict.refused is not None:
            vetted[at] = verdict.refused
            service.metrics.enrolment_refused(verdict.refused.code)
        else:
            doubts[at] = verdict.warnings
    return vetted, doubts


async def resembling(
    service: Service, serving: Recogniser, subject: str, probes: Sequence[Probe]
) -> tuple[list[list[CandidateAnswer]], DuplicateCheckAnswer | None]:
    """Search other subjects with the same face: for each photo, and how sure that is.

    Called once the photos are stored: of two people who enrol one face at the same moment,
    one at least is found. Nothing is searched if the settings say so or no point is measured.
    """
    none: list[list[CandidateAnswer]] = [[] for _ in probes]
    if not service.settings.enroll_search:
        return none, None
    gallery = (await service.store.count("")).templates
    point = alarm_point(serving.bundle.operating_points, gallery)
    if point is None:
        return none, None
    found = []
    comparing = service.comparing(serving)
    for probe in probes:
        near = await comparing.search(probe.template, _DUPLICATES, besides=subject)
        found.append(
            [
                CandidateAnswer.model_validate(one)
                for one in near
                if one.similarity >= point.threshold
            ]
        )
    return found, DuplicateCheckAnswer.of(point, gallery)


async def _held(service: Service, subject: str, serving: Recogniser) -> dict[str, Template]:
    """Return the unexpired templates of the serving bundle by their ids."""
    try:
        found = await service.store.templates_of(subject)
    except SubjectNotFound:
        return {}
    return {one.template_id: serving.template(one) for one in found.made_by(serving.fingerprint)}


async def _digests(service: Service, subject: str, held: Collection[str]) -> frozenset[str]:
    """Return the digests of the photos that templates are of."""
    if not held:
        return frozenset()
    try:
        detail = await service.store.subject(subject)
    except SubjectNotFound:
        return frozenset()
    return frozenset(one.image_sha256 for one in detail.templates if one.template_id in held)
