"""Enrol photos as a subject, or every face of a photo as a subject of its own."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import uuid4

from models.errors import FaceTooSmall, LikenessError, NoFace
from models.photo.quality_head import LearnedQuality
from service.errors import FieldError, InvalidRequest, LowQuality
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe, check_any_usable
from service.recognition.recogniser import Recogniser
from service.recognition.render import face_answer, problem_answer
from service.recognition.service import Service
from service.recognition.vetting import VettingStandard, find_duplicates, low_quality, vet
from service.schemas.recognition import (
    DuplicateCheckAnswer,
    EnrollAnswer,
    EnrolledImage,
    ProblemAnswer,
)
from service.schemas.requests import EnrollRequest
from service.store import Idempotency, NewTemplate, Terms, check_ahead, utc_now


async def enroll_photos(
    service: Service,
    form: EnrollRequest,
    idempotency_key: str | None,
    by: str | None,
    may_name: bool,
    caller: Caller,
) -> tuple[EnrollAnswer, bool]:
    """Enrol every usable photo; return the answer and whether a template was created.

    While two bundles are loaded, a photo must be usable by both. The names of other subjects
    with the same face are in the answer only if the caller `may_name` them. Raises the first
    photo's error if none can be used.
    """
    terms = terms_of(form, required=service.settings.require_consent)
    check_ahead(form.expires_at, utc_now())
    recogniser = await service.active()
    policy = form.policy or service.settings.face_policy
    probes = await recogniser.pipeline.probe_each(form.image, policy, caller)
    by_bundle = [probes]
    for other in service.recognisers:
        if other is not recogniser:
            by_bundle.append(await _probe_usable(other, probes, form, service, caller))
            probes = [_usable_by_both(*pair) for pair in zip(probes, by_bundle[-1], strict=True)]
    probes, doubts = await vet(service, recogniser, form, probes)
    check_any_usable(probes)
    usable = {place: probe for place, probe in enumerate(probes) if isinstance(probe, Probe)}
    # The templates of the active bundle come first: the answer tells their outcome.
    templates = [
        new_template(
            service, form.image[place], probe, form.template_id or uuid4().hex, form.expires_at
        )
        for probes_of_bundle in by_bundle
        for place, probe in enumerate(probes_of_bundle)
        if isinstance(probe, Probe) and place in usable
    ]
    idempotency = (
        None if idempotency_key is None else Idempotency(idempotency_key, _digest(form, probes))
    )
    # Shielded: once the store has begun, it must finish although the caller disconnects.
    with service.metrics.timed("store"):
        enrolled = await asyncio.shield(
            service.store.enroll(form.subject, templates, form.metadata, idempotency, by, terms)
        )
    duplicates, check = await find_duplicates(
        service, recogniser, form.subject, list(usable.values())
    )
    images = [
        EnrolledImage(image=place, status="failed", problem=problem_answer(probe))
        for place, probe in enumerate(probes)
        if isinstance(probe, LikenessError)
    ]
    stored_here = enrolled.templates[: len(usable)]
    for (place, probe), stored, near in zip(usable.items(), stored_here, duplicates, strict=True):
        warnings = [problem_answer(doubt) for doubt in doubts[place]]
        if check is not None and near:
            warnings.append(_duplicate_warning(check))
        for warning in warnings if stored.created else ():
            service.metrics.enrolment_warned(warning.code)
        images.append(
            EnrolledImage(
                image=place,
                status="enrolled" if stored.created else "already_enrolled",
                template_id=stored.template_id,
                face=face_answer(probe),
                warnings=warnings,
                possible_duplicates=near if may_name else [],
            )
        )
    answer = EnrollAnswer(
        subject=form.subject,
        images=sorted(images, key=lambda image: image.image),
        fingerprint=recogniser.fingerprint,
        duplicate_check=check,
    )
    return answer, any(stored.created for stored in enrolled.templates)


def _duplicate_warning(check: DuplicateCheckAnswer) -> ProblemAnswer:
    """Return the warning about a photo that resembles another subject."""
    return ProblemAnswer(
        code="possible_duplicate",
        detail=f"Another subject has this face: a similarity of {check.threshold:.3f} or more, "
        f"by mistake in at most {check.fpir_bound:.2%} of enrolments.",
        advice="Find out whether one person is enrolled under two names.",
    )


async def _probe_usable(
    recogniser: Recogniser,
    probes: Sequence[Probe | LikenessError],
    form: EnrollRequest,
    service: Service,
    caller: Caller,
) -> list[Probe | LikenessError]:
    """Embed the photos that are usable so far by another bundle; keep the other errors."""
    photos = [form.image[place] for place, probe in enumerate(probes) if isinstance(probe, Probe)]
    policy = form.policy or service.settings.face_policy
    others = iter(await recogniser.pipeline.probe_each(photos, policy, caller))
    return [next(others) if isinstance(probe, Probe) else probe for probe in probes]


def _usable_by_both(
    probe: Probe | LikenessError, other: Probe | LikenessError
) -> Probe | LikenessError:
    return probe if isinstance(other, Probe) else other


def _digest(form: EnrollRequest, probes: Sequence[Probe | LikenessError]) -> str:
    """Return the SHA-256 of a request, to tell a repeated one from another with the same key.

    It includes which photos were refused. The gallery may have changed since, and the first
    outcome must not be returned for other photos.
    """
    # Fields with default values are left out, so that a request has the same digest in a later
    # version that knows more fields.
    plain = form.model_dump(mode="json", exclude={"image", "liveness_token"}, exclude_defaults=True)
    parts = [json.dumps(plain, sort_keys=True).encode()]
    parts += [hashlib.sha256(photo).digest() for photo in form.image]
    parts += [
        f"{place}".encode() for place, probe in enumerate(probes) if not isinstance(probe, Probe)
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class ProbedFace:
    """Hold a face's probes by every bundle, and why the face would make a bad template.

    The probe of the active bundle comes first.
    """

    probes: tuple[Probe, ...]
    low_quality: LowQuality | None

    @property
    def probe(self) -> Probe:
        return self.probes[0]


@dataclass(frozen=True, slots=True)
class NewFace:
    """Hold a face that becomes a subject with one template."""

    subject: str
    template_id: str
    face: ProbedFace
    metadata: Mapping[str, str]


async def probe_faces(
    service: Service,
    recogniser: Recogniser,
    photo: bytes,
    standard: VettingStandard,
    caller: Caller,
) -> list[ProbedFace]:
    """Embed the faces of a photo by every bundle; largest first, empty if there is no face.

    Two bundles find the same faces, since they share the detector. Raises InvalidRequest if the
    settings require consent, which this way of enrolling cannot give.
    """
    refuse_without_terms(required=service.settings.require_consent)
    most = service.settings.max_images
    others = [each for each in service.recognisers if each is not recogniser]
    try:
        by_bundle = [
            await each.pipeline.probe_all(photo, most, caller) for each in (recogniser, *others)
        ]
    except (NoFace, FaceTooSmall):
        return []
    return [
        ProbedFace(probes, low_quality(probes[0].report.quality, probes[0].template, standard))
        for probes in zip(*by_bundle, strict=True)
    ]


async def enroll_faces(
    service: Service, collection: str, photo: bytes, faces: Sequence[NewFace], by: str | None
) -> None:
    """Enrol faces of a photo, each as a subject; a subject that exists stays as it is.

    Raises CollectionNotFound; faces that are stored by then stay stored.
    """
    for new in faces:
        templates = [
            new_template(service, photo, probe, new.template_id) for probe in new.face.probes
        ]
        # Shielded: once the store has begun, it must finish although the caller disconnects.
        with service.metrics.timed("store"):
            await asyncio.shield(
                service.store.enroll(
                    new.subject, templates, new.metadata, by=by, collection=collection
                )
            )


def terms_of(form: EnrollRequest, *, required: bool) -> Terms | None:
    """Return the consent and purpose of a request; None if it names none.

    Raises InvalidRequest if they are `required` and missing.
    """
    if form.consent is not None and form.purpose is not None:
        return Terms(form.consent, form.purpose)
    refuse_without_terms(required=required)
    return None


def refuse_without_terms(*, required: bool) -> None:
    """Raise InvalidRequest if consent and purpose are `required`."""
    if required:
        message = "Required for each enrolment."
        raise InvalidRequest(
            "Each enrolment at this service requires `consent` and `purpose`.",
            [FieldError(name, message) for name in ("consent", "purpose")],
        )


def measures_of(probe: Probe) -> dict[str, float]:
    """Return the quality measures to store with a template, those of the quality head included."""
    measured = {
        name: value
        for name, value in asdict(probe.report.quality).items()
        if isinstance(value, float)
    }
    quality = probe.template.quality
    if quality is None:
        return measured
    return measured | LearnedQuality(quality, probe.template.conditions).measures()


def new_template(
    service: Service,
    photo: bytes,
    probe: Probe,
    template_id: str,
    expires_at: datetime | None = None,
) -> NewTemplate:
    """Return the template of a face to store, with its photo if the settings keep photos."""
    return NewTemplate(
        template_id=template_id,
        vector=probe.template.vector,
        fingerprint=probe.template.fingerprint,
        image_sha256=hashlib.sha256(photo).hexdigest(),
        quality=measures_of(probe),
        expires_at=expires_at,
        photo=photo if service.settings.store_images else None,
    )
