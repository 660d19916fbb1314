"""Enrol, verify, identify and embed: what the routes do between request and answer."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import uuid4

from models.decision import Template
from models.errors import FingerprintMismatch, LikenessError
from models.photo.face import Policy
from models.photo.quality_head import Capture
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Probe
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.terms import terms_of
from service.recognition.verify import FusedCandidate, rule_of
from service.recognition.vetting import resembling, vet
from service.schemas.answers import (
    CandidateAnswer,
    EmbedAnswer,
    EmbeddedImage,
    IdentifyAnswer,
    ProblemAnswer,
    VerifyAnswer,
)
from service.schemas.enroll_answers import EnrollAnswer, EnrolledImage
from service.schemas.requests import EmbedRequest, EnrollRequest, IdentifyRequest, VerifyRequest
from service.store import Idempotency, NewTemplate, check_ahead, utc_now


async def enroll(
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
    probes = await serving.pipeline.probe_each(form.image, _policy(form.policy, service), caller)
    made = [probes]
    for other in service.recognisers:
        if other is not serving:
            made.append(await _probe_too(other, probes, form, service, caller))
            probes = [_both(*pair) for pair in zip(probes, made[-1], strict=True)]
    probes, doubts = await vet(service, serving, form, probes)
    _raise_if_none(probes)
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


async def verify(
    service: Service, form: VerifyRequest, caller: Caller, may_lower: bool
) -> VerifyAnswer:
    """Decide whether photos show the subject, or whether two photos show one person.

    The caller `may_lower` the threshold below that of the laxest operating point, or may not.
    """
    serving = await service.serving()
    usual = service.settings.operating_point
    rule = rule_of(form, serving.bundle, usual, may_lower=may_lower)
    compared = await service.comparing(serving).compare(form, caller)
    decision = rule.decide(compared.similarity, compared.conditions)
    service.metrics.decided(decision.outcome, compared.similarity, rule.threshold)
    return VerifyAnswer.of(
        decision,
        compared,
        serving.fingerprint,
        subject=form.subject,
        evidence=serving.bundle.evidence,
    )


async def identify(
    service: Service, form: IdentifyRequest, caller: Caller, may_lower: bool
) -> IdentifyAnswer:
    """Find the subjects whose templates together reach the threshold, or say unknown."""
    serving = await service.serving()
    usual = service.settings.operating_point
    rule = rule_of(form, serving.bundle, usual, may_lower=may_lower)
    fingerprint = serving.fingerprint
    probe = await service.comparing(serving).probe(form.image, form.policy, caller)
    found = await search(service, serving, probe.template, form.limit)
    gallery = (await service.store.count("")).templates
    candidates = [
        CandidateAnswer(
            subject=each.subject,
            template_id=each.template_id,
            similarity=each.similarity,
            cosine=each.cosine,
            doubts=list(rule.decide(each.similarity, each.conditions).doubts),
        )
        for each in found
        if each.similarity >= rule.threshold
    ]
    return IdentifyAnswer.of(
        rule, candidates, probe, fingerprint, gallery=gallery, evidence=serving.bundle.evidence
    )


async def search(
    service: Service,
    serving: Recogniser,
    probe: Template,
    limit: int,
    collection: str = "",
    besides: str | None = None,
) -> list[FusedCandidate]:
    """Return the most similar subjects of a collection, best first, as `/verify` would score them.

    `besides` is left out. Raises FingerprintMismatch if all that could be compared is of other
    bundles.
    """
    found = await service.comparing(serving).search(probe, limit, collection, besides)
    fingerprint = serving.fingerprint
    # One who is left out has templates to compare, or nobody would ask for others like it.
    if not found and besides is None and await service.store.has_others(fingerprint, collection):
        raise FingerprintMismatch(
            "The gallery holds no template that was made by the bundle now served "
            f"({fingerprint[:12]}). Enrol its subjects again, or bring the gallery over: "
            "`likeness reembed`, then `likeness switch`."
        )
    return found


async def embed(service: Service, form: EmbedRequest, caller: Caller) -> EmbedAnswer:
    """Return the vectors of the photos that can be used; raise if none can."""
    serving = await service.serving()
    probes = await serving.pipeline.probe_each(form.image, _policy(form.policy, service), caller)
    _raise_if_none(probes)
    features = form.output == "features"
    return EmbedAnswer(
        images=[EmbeddedImage.of(at, probe, features) for at, probe in enumerate(probes)],
        output=form.output,
        dimension=serving.bundle.encoder.width if features else serving.bundle.dimension,
        fingerprint=serving.fingerprint,
    )


def _policy(asked: Policy | None, service: Service) -> Policy:
    return asked or service.settings.face_policy


def _raise_if_none(probes: Sequence[Probe | LikenessError]) -> None:
    errors = [probe for probe in probes if isinstance(probe, LikenessError)]
    if len(errors) == len(probes):
        raise errors[0].about("image.0")


async def _probe_too(
    other: Recogniser,
    probes: Sequence[Probe | LikenessError],
    form: EnrollRequest,
    service: Service,
    caller: Caller,
) -> list[Probe | LikenessError]:
    """Take the photos that are usable so far through another bundle."""
    photos = [form.image[at] for at, probe in enumerate(probes) if isinstance(probe, Probe)]
    made = iter(await other.pipeline.probe_each(photos, _policy(form.policy, service), caller))
    return [next(made) if isinstance(probe, Probe) else probe for probe in probes]


def _both(one: Probe | LikenessError, other: Probe | LikenessError) -> Probe | LikenessError:
    return one if isinstance(other, Probe) else other


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
    return measured | Capture(quality, probe.template.conditions).measures()


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
