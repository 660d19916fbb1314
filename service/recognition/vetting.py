"""Decide which photos become templates, and look for subjects with the same face.

A bad template harms every later decision: a poor photo is seldom recognised, and a photo of
another person lets that person in. A request can accept what is refused here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from models.decision import ConditionName, Template
from models.errors import LikenessError
from models.photo.quality import HARMFUL, Issue, Quality, issues
from models.photo.quality_head import condition_issues
from service.errors import EnrolmentError, Inconsistent, LowQuality, SubjectNotFound
from service.pipeline.pipeline import Probe
from service.recognition.matcher import outliers
from service.recognition.recogniser import Recogniser
from service.recognition.render import fpir_bound
from service.recognition.service import Service
from service.recognition.thresholds import agreement_floor, alarm_point
from service.schemas.recognition import CandidateAnswer, DuplicateCheckAnswer
from service.schemas.requests import EnrollRequest
from service.settings import QualityGate

# The number of possible duplicates that an answer names.
_DUPLICATES: Final = 5
# Conditions that hide a face. The others count only if they make the whole photo poor.
_REFUSED: Final[frozenset[ConditionName]] = frozenset({"masked", "dark_glasses", "blurred"})

Doubts = Mapping[int, Sequence[EnrolmentError]]


@dataclass(frozen=True, slots=True)
class VettingStandard:
    """Say what is checked, and what the request accepts although it fails.

    Photos agree if their similarity is at least `floor`. The floor is None for a bundle without
    operating points: it cannot tell people apart, so all photos agree.
    """

    quality: QualityGate
    floor: float | None
    accept_quality: bool = False
    accept_inconsistent: bool = False


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """Hold a photo to enrol; `is_enrolled` if the subject already has a template of it."""

    template: Template
    quality: Quality
    is_enrolled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold why a photo is refused, or the warnings about a photo that is accepted."""

    refusal: EnrolmentError | None = None
    warnings: tuple[EnrolmentError, ...] = ()


async def vet(
    service: Service,
    recogniser: Recogniser,
    form: EnrollRequest,
    probes: Sequence[Probe | LikenessError],
) -> tuple[list[Probe | LikenessError], Doubts]:
    """Replace photos that make bad templates by errors; return warnings about the others by place.

    If a subject is first enrolled by two requests at the same moment, neither is compared with
    the other, and both may pass. Later photos are compared with both.
    """
    points = recogniser.bundle.operating_points
    standard = VettingStandard(
        service.settings.enroll_quality,
        agreement_floor(points),
        form.accept_quality,
        form.accept_inconsistent,
    )
    usable = {place: probe for place, probe in enumerate(probes) if isinstance(probe, Probe)}
    templates = await _stored_templates(service, form.subject, recogniser)
    digests: frozenset[str] = frozenset()
    # Digests matter only for a photo that would be refused.
    if any(
        low_quality(probe.report.quality, probe.template, standard) for probe in usable.values()
    ):
        digests = await _digests(service, form.subject, templates)
    photos = [
        NewPhoto(
            probe.template, probe.report.quality, sha256(form.image[place]).hexdigest() in digests
        )
        for place, probe in usable.items()
    ]
    verdicts = judge(photos, list(templates.values()), standard)
    vetted, doubts = list(probes), {}
    for place, verdict in zip(usable, verdicts, strict=True):
        if verdict.refusal is not None:
            vetted[place] = verdict.refusal
            service.metrics.enrolment_refused(verdict.refusal.code)
        else:
            doubts[place] = verdict.warnings
    return vetted, doubts


def judge(
    photos: Sequence[NewPhoto], templates: Sequence[Template], standard: VettingStandard
) -> list[Verdict]:
    """Decide on the photos of one request, given the subject's unexpired templates.

    All templates are of one bundle. A photo that is enrolled already is not refused for its
    quality: a repeated request must change nothing.
    """
    poor = [
        None if photo.is_enrolled else low_quality(photo.quality, photo.template, standard)
        for photo in photos
    ]
    refuse_poor = standard.quality == "refuse" and not standard.accept_quality
    left = [place for place, error in enumerate(poor) if error is None or not refuse_poor]
    odd: set[int] = set()
    if left and standard.floor is not None:
        new = [photos[place].template for place in left]
        odd = {left[row] for row in outliers(new, templates, standard.floor)}
    return [
        _verdict(error, refuse_poor, place in odd, standard) for place, error in enumerate(poor)
    ]


def _verdict(
    poor: LowQuality | None, refuse_poor: bool, is_odd: bool, standard: VettingStandard
) -> Verdict:
    if poor is not None and refuse_poor:
        return Verdict(poor)
    warnings: list[EnrolmentError] = [] if poor is None else [poor]
    if is_odd:
        assert standard.floor is not None
        odd = Inconsistent(
            "The photo does not seem to show the person of the subject's other photos: its "
            f"similarity to each of them is below {standard.floor:.3f}."
        )
        if not standard.accept_inconsistent:
            return Verdict(odd)
        warnings.append(odd)
    return Verdict(None, tuple(warnings))


def low_quality(
    quality: Quality, template: Template, standard: VettingStandard
) -> LowQuality | None:
    """Return an error, with advice, if a photo would seldom be recognised."""
    if standard.quality == "off":
        return None
    harmful = harmful_issues(quality, template)
    if not harmful:
        return None
    reasons = ", ".join(issue.code for issue in harmful)
    return LowQuality(
        f"The photo is too poor to recognise its person by: {reasons}.",
        " ".join(issue.advice for issue in harmful),
    )


def harmful_issues(quality: Quality, template: Template) -> tuple[Issue, ...]:
    """Return why a photo would make a bad template, by its measures and by the quality head.

    An issue that both report is listed once.
    """
    measured = issues(quality, HARMFUL)
    if template.quality is None:
        return measured
    # The quality head judges better than landmarks how far a face is turned away.
    harmful = [issue for issue in measured if issue.code != "turned_away"]
    harmful += condition_issues(template.conditions & _REFUSED)
    if not harmful and template.is_poor:
        harmful.append(
            Issue(
                "hard_to_recognise",
                "Face the camera, in even light, without blur, mask or sunglasses.",
            )
        )
    return tuple({issue.code: issue for issue in harmful}.values())


async def find_duplicates(
    service: Service, recogniser: Recogniser, subject: str, probes: Sequence[Probe]
) -> tuple[list[list[CandidateAnswer]], DuplicateCheckAnswer | None]:
    """Search other subjects with the same face.

    Return candidates for each photo, and how the search was done: None if nothing was searched,
    by the settings or because the bundle has no operating points. The photos are stored before
    this is called, so that of two subjects with one face enrolled at the same moment at least
    one is found.
    """
    none: list[list[CandidateAnswer]] = [[] for _ in probes]
    if not service.settings.enroll_search:
        return none, None
    gallery = (await service.store.count("")).templates
    point = alarm_point(recogniser.bundle.operating_points, gallery)
    if point is None:
        return none, None
    duplicates = []
    matcher = service.matcher(recogniser)
    for probe in probes:
        candidates = await matcher.search(probe.template, _DUPLICATES, exclude=subject)
        duplicates.append(
            [
                CandidateAnswer.model_validate(candidate)
                for candidate in candidates
                if candidate.similarity >= point.threshold
            ]
        )
    check = DuplicateCheckAnswer(
        operating_point=point.name,
        threshold=point.threshold,
        gallery=gallery,
        fpir_bound=fpir_bound(point, gallery),
    )
    return duplicates, check


async def _stored_templates(
    service: Service, subject: str, recogniser: Recogniser
) -> dict[str, Template]:
    """Return the subject's unexpired templates of this bundle by their ids."""
    try:
        stored = await service.store.templates_of(subject)
    except SubjectNotFound:
        return {}
    return {
        template.template_id: recogniser.template(template)
        for template in stored.made_by(recogniser.fingerprint)
    }


async def _digests(service: Service, subject: str, template_ids: Collection[str]) -> frozenset[str]:
    """Return the SHA-256 of the photos that these templates were made of."""
    if not template_ids:
        return frozenset()
    try:
        detail = await service.store.subject(subject)
    except SubjectNotFound:
        return frozenset()
    return frozenset(
        template.image_sha256
        for template in detail.templates
        if template.template_id in template_ids
    )
