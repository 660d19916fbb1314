"""Verify: decide whether photos show a subject, or whether two photos show one person."""

from models.decision import explain
from service.pipeline.decode import Caller
from service.recognition.render import (
    evidence_answer,
    face_answer,
    point_answer,
    took_answer,
    unused_photo_answer,
)
from service.recognition.service import Service
from service.recognition.thresholds import rule_of
from service.schemas.recognition import VerifyAnswer
from service.schemas.requests import VerifyRequest


async def verify_photos(
    service: Service, form: VerifyRequest, caller: Caller, may_lower: bool
) -> VerifyAnswer:
    """Decide whether photos show the subject, or whether two photos show one person.

    A caller that `may_lower` the threshold may send one below the laxest operating point.
    """
    recogniser = await service.active()
    default_point = service.settings.operating_point
    rule = rule_of(form, recogniser.bundle, default_point, may_lower=may_lower)
    comparison = await service.matcher(recogniser).compare(form, caller)
    decision = rule.decide(comparison.similarity, comparison.conditions)
    service.metrics.decided(decision.outcome, comparison.similarity, rule.threshold)
    point = decision.point
    return VerifyAnswer(
        verified=decision.outcome == "match",
        decision=decision.outcome,
        similarity=decision.similarity,
        cosine=comparison.cosine,
        probability=decision.probability,
        threshold=decision.threshold,
        floor=decision.floor,
        operating_point=None if point is None else point_answer(point),
        comparisons=comparison.templates,
        fmr_bound=None if point is None else point.fmr.value,
        doubts=list(decision.doubts),
        evidence=evidence_answer(recogniser.bundle.evidence, point),
        explanation=explain(
            decision, comparison.templates, 1 if form.subject is None else len(comparison.probes)
        ),
        subject=form.subject,
        template_id=comparison.template_id,
        faces=[face_answer(probe) for probe in comparison.probes],
        unused=[unused_photo_answer(photo) for photo in comparison.unused],
        fingerprint=recogniser.fingerprint,
        took=[took_answer(probe) for probe in comparison.probes],
    )
