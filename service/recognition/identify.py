"""Identify: find the subjects of a gallery that a photo resembles."""

from models.decision import Template
from models.errors import FingerprintMismatch
from service.pipeline.caller import Caller
from service.recognition.compare import FusedCandidate, rule_of
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.schemas.recognition import (
    CandidateAnswer,
    IdentifyAnswer,
)
from service.schemas.requests import IdentifyRequest


async def identify_photo(
    service: Service, form: IdentifyRequest, caller: Caller, may_lower: bool
) -> IdentifyAnswer:
    """Find the subjects whose templates together reach the threshold, or say unknown."""
    serving = await service.serving()
    usual = service.settings.operating_point
    rule = rule_of(form, serving.bundle, usual, may_lower=may_lower)
    fingerprint = serving.fingerprint
    probe = await service.comparing(serving).probe(form.image, form.policy, caller)
    found = await search_gallery(service, serving, probe.template, form.limit)
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


async def search_gallery(
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
