"""Verify: decide whether photos show a subject, or whether two photos show one person."""

from service.pipeline.caller import Caller
from service.recognition.compare import rule_of
from service.recognition.service import Service
from service.schemas.recognition import (
    VerifyAnswer,
)
from service.schemas.requests import VerifyRequest


async def verify_photos(
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
