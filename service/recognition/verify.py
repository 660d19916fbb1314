"""Verify: decide whether photos show a subject, or whether two photos show one person."""

from service.pipeline.decode import Caller
from service.recognition.render import verify_answer
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
    return verify_answer(
        decision,
        comparison,
        recogniser.fingerprint,
        subject=form.subject,
        evidence=recogniser.bundle.evidence,
    )
