"""Identify: find the subjects of a gallery that a photo resembles."""

from models.decision import Template
from models.errors import FingerprintMismatch
from service.pipeline.decode import Caller
from service.recognition.matcher import FusedCandidate
from service.recognition.recogniser import Recogniser
from service.recognition.render import (
    evidence_answer,
    face_answer,
    fpir_bound,
    point_answer,
    took_answer,
    unused_photo_answer,
)
from service.recognition.service import Service
from service.recognition.thresholds import rule_of
from service.schemas.recognition import CandidateAnswer, IdentifyAnswer
from service.schemas.requests import IdentifyRequest


async def identify_photo(
    service: Service, form: IdentifyRequest, caller: Caller, may_lower: bool
) -> IdentifyAnswer:
    """Find the subjects whose templates reach the threshold.

    Candidates with doubts only are `inconclusive`; no candidate is `unknown`.
    A caller that `may_lower` the threshold may send one below the laxest operating point.
    """
    recogniser = await service.active()
    default_point = service.settings.operating_point
    rule = rule_of(form, recogniser.bundle, default_point, may_lower=may_lower)
    probe = await service.matcher(recogniser).probe(form.image, form.policy, caller)
    subjects = await search_gallery(service, recogniser, probe.template, form.limit)
    gallery = (await service.store.count("")).templates
    candidates = [
        CandidateAnswer(
            subject=candidate.subject,
            template_id=candidate.template_id,
            similarity=candidate.similarity,
            cosine=candidate.cosine,
            doubts=list(rule.decide(candidate.similarity, candidate.conditions).doubts),
        )
        for candidate in subjects
        if candidate.similarity >= rule.threshold
    ]
    sure = any(not candidate.doubts for candidate in candidates)
    point, first = rule.point, probe.probes[0]
    return IdentifyAnswer(
        outcome="identified" if sure else "inconclusive" if candidates else "unknown",
        candidates=candidates,
        threshold=rule.threshold,
        operating_point=None if point is None else point_answer(point),
        gallery=gallery,
        fpir_bound=None if point is None else fpir_bound(point, gallery),
        face=face_answer(first),
        unused=[unused_photo_answer(photo) for photo in probe.unused],
        evidence=evidence_answer(recogniser.bundle.evidence, point),
        fingerprint=recogniser.fingerprint,
        took=took_answer(first),
    )


async def search_gallery(
    service: Service,
    recogniser: Recogniser,
    probe: Template,
    limit: int,
    collection: str = "",
    exclude: str | None = None,
) -> list[FusedCandidate]:
    """Return the most similar subjects of a collection, best first, scored as by `/verify`.

    The subject `exclude` is left out. Raises FingerprintMismatch if all templates of the
    collection are of other bundles.
    """
    fingerprint = recogniser.fingerprint
    candidates = await service.matcher(recogniser).search(probe, limit, collection, exclude)
    # A subject to exclude has templates of this bundle: the caller took the probe from there.
    is_empty = not candidates and exclude is None
    if is_empty and await service.store.has_others(fingerprint, collection):
        raise FingerprintMismatch(
            "The gallery holds no template that was made by the bundle now served "
            f"({fingerprint[:12]}). Enrol its subjects again, or bring the gallery over: "
            "`likeness reembed`, then `likeness switch`."
        )
    return candidates
