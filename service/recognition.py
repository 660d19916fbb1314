"""Enrol, verify, identify and embed: what the routes do between request and answer."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from uuid import uuid4

from models.bundle import Bundle
from models.decision import Rule, rule_at
from models.errors import FingerprintMismatch, LikenessError
from models.face import Policy
from models.template import Template, similarity
from service.answers import (
    CandidateAnswer,
    EmbedAnswer,
    EmbeddedImage,
    EnrollAnswer,
    EnrolledImage,
    IdentifyAnswer,
    VerifyAnswer,
)
from service.pipeline import Probe
from service.recogniser import Recogniser
from service.schemas import Choice, EmbedRequest, EnrollRequest, IdentifyRequest, VerifyRequest
from service.service import Service
from service.store import Idempotency, NewTemplate
from service.terms import terms_of


async def enroll(
    service: Service, form: EnrollRequest, key: str | None, by: str | None, caller: object
) -> tuple[EnrollAnswer, bool]:
    """Store what can be used of the photos; say whether anything is new.

    During a change of bundle every photo goes through both, or counts as unusable: whichever
    serves, nobody is missing. Raises the first photo's problem if none can be used.
    """
    terms = terms_of(form, required=service.settings.require_consent)
    serving = await service.serving()
    probes = await serving.pipeline.probe_each(form.image, _policy(form.policy, service), caller)
    made = [probes]
    for other in service.recognisers:
        if other is not serving:
            made.append(await _probe_too(other, probes, form, service, caller))
            probes = [_both(*pair) for pair in zip(probes, made[-1], strict=True)]
    _raise_if_none(probes)
    usable = [(at, probe) for at, probe in enumerate(probes) if isinstance(probe, Probe)]
    # Those of the bundle that serves come first: theirs is the outcome that is answered.
    new = [
        _new_template(form, at, probe, service)
        for each in made
        for at, probe in enumerate(each)
        if isinstance(probe, Probe) and isinstance(probes[at], Probe)
    ]
    idempotency = None if key is None else Idempotency(key, _digest(form))
    # Shielded: once the store has begun, the outcome must not depend on the caller staying.
    with service.metrics.timed("store"):
        enrolled = await asyncio.shield(
            service.store.enroll(form.subject, new, form.metadata, idempotency, by, terms)
        )
    images: list[EnrolledImage] = [
        EnrolledImage.failed(at, probe)
        for at, probe in enumerate(probes)
        if not isinstance(probe, Probe)
    ]
    stored_here = enrolled.templates[: len(usable)]
    for (at, probe), stored in zip(usable, stored_here, strict=True):
        images.append(EnrolledImage.of(at, probe, stored.template_id, created=stored.created))
    answer = EnrollAnswer(
        subject=form.subject,
        images=sorted(images, key=lambda image: image.image),
        fingerprint=serving.fingerprint,
    )
    return answer, any(stored.created for stored in enrolled.templates)


async def verify(service: Service, form: VerifyRequest, caller: object) -> VerifyAnswer:
    """Decide whether a photo shows the subject, or whether two photos show one person."""
    serving = await service.serving()
    rule = _rule(form, serving.bundle)
    policy = _policy(form.policy, service)
    if form.subject is not None and form.image is not None:
        return await _verify_subject(
            service, serving, form.subject, form.image, rule, policy, caller
        )
    assert form.source_image is not None
    assert form.target_image is not None
    probes = await serving.pipeline.probe_both(form.source_image, form.target_image, policy, caller)
    score = similarity(probes[0].template, probes[1].template)
    decision = rule.decide(score)
    service.metrics.decided(decision.outcome, score)
    return VerifyAnswer.of(decision, probes, serving.fingerprint, comparisons=1)


async def _verify_subject(
    service: Service,
    serving: Recogniser,
    subject: str,
    photo: bytes,
    rule: Rule,
    policy: Policy,
    caller: object,
) -> VerifyAnswer:
    """Compare with every template of the subject; the best one counts.

    The subject is looked up after the encoder, so that a template deleted meanwhile is
    never used, and before it, so that an unknown subject costs nothing.
    """
    fingerprint = serving.fingerprint
    await service.store.templates_of(subject)
    probe = await serving.pipeline.probe(photo, policy, caller)
    with service.metrics.timed("store"):
        held = await service.store.templates_of(subject)
    scores = [
        (similarity(probe.template, Template(held_one.vector, held_one.fingerprint)), held_one)
        for held_one in held.templates
        if held_one.fingerprint == fingerprint
    ]
    if not scores:
        raise FingerprintMismatch(
            "The subject has no template that is valid and made by the bundle now served "
            f"({fingerprint[:12]}); enrol the subject again."
        )
    best, template = max(scores, key=lambda pair: pair[0])
    decision = rule.decide(best)
    service.metrics.decided(decision.outcome, best)
    return VerifyAnswer.of(
        decision,
        [probe],
        fingerprint,
        comparisons=len(scores),
        subject=subject,
        template_id=template.template_id,
    )


async def identify(service: Service, form: IdentifyRequest, caller: object) -> IdentifyAnswer:
    """Find the subjects whose best template reaches the threshold, or say unknown."""
    serving = await service.serving()
    rule, fingerprint = _rule(form, serving.bundle), serving.fingerprint
    probe = await serving.pipeline.probe(form.image, _policy(form.policy, service), caller)
    with service.metrics.timed("search"):
        found = await service.store.search(probe.row.vector, fingerprint, form.limit)
    gallery = (await service.store.count()).templates
    if not found and gallery:
        raise FingerprintMismatch(
            "The gallery holds no template that is valid and made by the bundle now served "
            f"({fingerprint[:12]})."
        )
    kept = [candidate for candidate in found if candidate.similarity >= rule.threshold]
    return IdentifyAnswer.of(
        rule,
        [CandidateAnswer.model_validate(candidate) for candidate in kept],
        probe,
        fingerprint,
        gallery=gallery,
    )


async def embed(service: Service, form: EmbedRequest, caller: object) -> EmbedAnswer:
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


def _rule(form: Choice, bundle: Bundle) -> Rule:
    chosen = form.operating_point, form.threshold
    return rule_at(bundle.operating_points, *chosen, bundle.probability)


def _raise_if_none(probes: Sequence[Probe | LikenessError]) -> None:
    errors = [probe for probe in probes if isinstance(probe, LikenessError)]
    if len(errors) == len(probes):
        raise errors[0]


async def _probe_too(
    other: Recogniser,
    probes: Sequence[Probe | LikenessError],
    form: EnrollRequest,
    service: Service,
    caller: object,
) -> list[Probe | LikenessError]:
    """Take the photos that are usable so far through another bundle."""
    photos = [form.image[at] for at, probe in enumerate(probes) if isinstance(probe, Probe)]
    made = iter(await other.pipeline.probe_each(photos, _policy(form.policy, service), caller))
    return [next(made) if isinstance(probe, Probe) else probe for probe in probes]


def _both(one: Probe | LikenessError, other: Probe | LikenessError) -> Probe | LikenessError:
    return one if isinstance(other, Probe) else other


def _new_template(form: EnrollRequest, at: int, probe: Probe, service: Service) -> NewTemplate:
    measures = asdict(probe.report.quality)
    photo = form.image[at]
    return NewTemplate(
        template_id=form.template_id or uuid4().hex,
        vector=probe.template.vector,
        fingerprint=probe.template.fingerprint,
        image_sha256=hashlib.sha256(photo).hexdigest(),
        quality={name: value for name, value in measures.items() if isinstance(value, float)},
        expires_at=form.expires_at,
        photo=photo if service.settings.store_images else None,
    )


def _digest(form: EnrollRequest) -> str:
    """Digest a request, to tell a repeated one from another under the same key."""
    plain = form.model_dump(mode="json", exclude={"image"})
    parts = [json.dumps(plain, sort_keys=True).encode()]
    parts += [hashlib.sha256(photo).digest() for photo in form.image]
    return hashlib.sha256(b"".join(parts)).hexdigest()
