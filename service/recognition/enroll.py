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
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Probe
from service.recognition.embed import policy_of, raise_if_none
from service.recognition.hygiene import Standard, low_quality
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.vetting import resembling, vet
from service.schemas.recognition import (
    EnrollAnswer,
    EnrolledImage,
    ProblemAnswer,
)
from service.schemas.requests import EnrollRequest
from service.store import Idempotency, NewTemplate, Terms, check_ahead, utc_now


async def enroll_photos(
    service: Service,
    form: EnrollRequest,
    key: str | None,
    by: str | None,
    may_name: bool,
    caller: Caller,
) -> tuple[EnrollAnswer, bool]:
    """Store what can be used of the photos; say whether anything is new.

    During a change of bundle every photo goes through both, or counts as unusable: whichever
    serves, nobody is missing. `may_name` tells other subjects' names where a face is theirs.
    Raises the first photo's problem if none can be used.
    """
    terms = terms_of(form, required=service.settings.require_consent)
    check_ahead(form.expires_at, utc_now())
    serving = await service.serving()
    probes = await serving.pipeline.probe_each(form.image, policy_of(form.policy, service), caller)
    made = [probes]
    for other in service.recognisers:
        if other is not serving:
            made.append(await _probe_too(other, probes, form, service, caller))
            probes = [_both(*pair) for pair in zip(probes, made[-1], strict=True)]
    probes, doubts = await vet(service, serving, form, probes)
    raise_if_none(probes)
    usable = [(at, probe) for at, probe in enumerate(probes) if isinstance(probe, Probe)]
    # Those of the bundle that serves come first: theirs is the outcome that is answered.
    new = [
        new_template(
            service, form.image[at], probe, form.template_id or uuid4().hex, form.expires_at
        )
        for each in made
        for at, probe in enumerate(each)
        if isinstance(probe, Probe) and isinstance(probes[at], Probe)
    ]
    idempotency = None if key is None else Idempotency(key, _digest(form, probes))
    # Shielded: once the store has begun, the outcome must not depend on the caller staying.
    with service.metrics.timed("store"):
        enrolled = await asyncio.shield(
            service.store.enroll(form.subject, new, form.metadata, idempotency, by, terms)
        )
    found, check = await resembling(service, serving, form.subject, [probe for _, probe in usable])
    images: list[EnrolledImage] = [
        EnrolledImage.failed(at, probe)
        for at, probe in enumerate(probes)
        if not isinstance(probe, Probe)
    ]
    stored_here = enrolled.templates[: len(usable)]
    for (at, probe), stored, near in zip(usable, stored_here, found, strict=True):
        warnings = [ProblemAnswer.of(doubt) for doubt in doubts[at]]
        if check is not None and near:
            warnings.append(check.warning())
        for warning in warnings if stored.created else ():
            service.metrics.enrolment_warned(warning.code)
        images.append(
            EnrolledImage.of(
                at,
                probe,
                stored.template_id,
                created=stored.created,
                warnings=warnings,
                possible_duplicates=near if may_name else (),
            )
        )
    answer = EnrollAnswer(
        subject=form.subject,
        images=sorted(images, key=lambda image: image.image),
        fingerprint=serving.fingerprint,
        duplicate_check=check,
    )
    return answer, any(stored.created for stored in enrolled.templates)


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


def terms_of(form: EnrollRequest, *, required: bool) -> Terms | None:
    """Return what was said of it, None if nothing was. Raises InvalidRequest if it has to be."""
    if form.consent is not None and form.purpose is not None:
        return Terms(form.consent, form.purpose)
    without_terms(required=required)
    return None


def without_terms(*, required: bool) -> None:
    """Raise InvalidRequest where nobody is enrolled without them."""
    if required:
        message = "Needed here, with each enrolment."
        raise InvalidRequest(
            "Nobody is enrolled here without consent and purpose.",
            [FieldError(name, message) for name in ("consent", "purpose")],
        )


def measures_of(probe: Probe) -> dict[str, float]:
    """Return what is stored of a photo's quality, measured and learned."""
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
    """Return what is to be stored of a face, with its photo if photos are kept."""
    return NewTemplate(
        template_id=template_id,
        vector=probe.template.vector,
        fingerprint=probe.template.fingerprint,
        image_sha256=hashlib.sha256(photo).hexdigest(),
        quality=measures_of(probe),
        expires_at=expires_at,
        photo=photo if service.settings.store_images else None,
    )


async def _probe_too(
    other: Recogniser,
    probes: Sequence[Probe | LikenessError],
    form: EnrollRequest,
    service: Service,
    caller: Caller,
) -> list[Probe | LikenessError]:
    """Take the photos that are usable so far through another bundle."""
    photos = [form.image[at] for at, probe in enumerate(probes) if isinstance(probe, Probe)]
    made = iter(await other.pipeline.probe_each(photos, policy_of(form.policy, service), caller))
    return [next(made) if isinstance(probe, Probe) else probe for probe in probes]


def _both(one: Probe | LikenessError, other: Probe | LikenessError) -> Probe | LikenessError:
    return one if isinstance(other, Probe) else other


def _digest(form: EnrollRequest, probes: Sequence[Probe | LikenessError]) -> str:
    """Digest a request, to tell a repeated one from another under the same key.

    Which photos were refused is part of it: the gallery may have changed since, and the first
    outcome must not be read as that of other photos.
    """
    # Defaults are left out: a request repeated to a version with more fields stays the same.
    plain = form.model_dump(mode="json", exclude={"image", "liveness_token"}, exclude_defaults=True)
    parts = [json.dumps(plain, sort_keys=True).encode()]
    parts += [hashlib.sha256(photo).digest() for photo in form.image]
    parts += [f"{at}".encode() for at, probe in enumerate(probes) if not isinstance(probe, Probe)]
    return hashlib.sha256(b"".join(parts)).hexdigest()
