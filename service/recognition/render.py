"""Turn probes and decisions into answers; the schemas themselves compute nothing."""

from collections.abc import Sequence

from models.decision import Decision, Evidence, OperatingPoint, Rule, explain
from models.errors import LikenessError
from service.pipeline.pipeline import Probe
from service.recognition.matcher import Comparison, FusedProbe, UnusedPhoto
from service.schemas.recognition import (
    BoxAnswer,
    CandidateAnswer,
    DuplicateCheckAnswer,
    EmbeddedImage,
    EnrolledImage,
    EvidenceAnswer,
    FaceAnswer,
    IdentifyAnswer,
    OperatingPointAnswer,
    ProblemAnswer,
    QualityAnswer,
    TookAnswer,
    UnusedPhotoAnswer,
    VerifyAnswer,
)


def verify_answer(
    decision: Decision,
    comparison: Comparison,
    fingerprint: str,
    *,
    subject: str | None,
    evidence: Evidence,
) -> VerifyAnswer:
    """Return the answer to a verification; `subject` is None for two photos."""
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
        evidence=evidence_answer(evidence, point),
        explanation=explain(
            decision, comparison.templates, 1 if subject is None else len(comparison.probes)
        ),
        subject=subject,
        template_id=comparison.template_id,
        faces=[face_answer(probe) for probe in comparison.probes],
        unused=[unused_photo_answer(photo) for photo in comparison.unused],
        fingerprint=fingerprint,
        took=[took_answer(probe) for probe in comparison.probes],
    )


def identify_answer(
    rule: Rule,
    candidates: Sequence[CandidateAnswer],
    probe: FusedProbe,
    fingerprint: str,
    *,
    gallery: int,
    evidence: Evidence,
) -> IdentifyAnswer:
    """Return the answer to an identification among `gallery` templates.

    Candidates with doubts only are `inconclusive`; no candidate is `unknown`.
    """
    point = rule.point
    first = probe.probes[0]
    if any(not candidate.doubts for candidate in candidates):
        outcome = "identified"
    else:
        outcome = "inconclusive" if candidates else "unknown"
    return IdentifyAnswer(
        outcome=outcome,
        candidates=list(candidates),
        threshold=rule.threshold,
        operating_point=None if point is None else point_answer(point),
        gallery=gallery,
        fpir_bound=None if point is None else fpir_bound(point, gallery),
        face=face_answer(first),
        unused=[unused_photo_answer(photo) for photo in probe.unused],
        evidence=evidence_answer(evidence, point),
        fingerprint=fingerprint,
        took=took_answer(first),
    )


def enrolled_image(
    place: int,
    probe: Probe,
    template_id: str,
    *,
    created: bool,
    warnings: Sequence[ProblemAnswer],
    possible_duplicates: Sequence[CandidateAnswer],
) -> EnrolledImage:
    """Return what became of the photo at `place` of an enrolment: its template is stored."""
    return EnrolledImage(
        image=place,
        status="enrolled" if created else "already_enrolled",
        template_id=template_id,
        face=face_answer(probe),
        warnings=list(warnings),
        possible_duplicates=list(possible_duplicates),
    )


def failed_image(place: int, error: LikenessError) -> EnrolledImage:
    """Return why the photo at `place` of an enrolment gave no template."""
    return EnrolledImage(image=place, status="failed", problem=problem_answer(error))


def embedded_image(place: int, probe: Probe | LikenessError, *, features: bool) -> EmbeddedImage:
    """Return the vector of the photo at `place`, or its features, or why it has none."""
    if isinstance(probe, LikenessError):
        return EmbeddedImage(image=place, status="failed", problem=problem_answer(probe))
    numbers = probe.row.features if features else probe.row.vector
    return EmbeddedImage(
        image=place,
        status="embedded",
        vector=numbers.tolist(),
        face=face_answer(probe),
        took=took_answer(probe),
    )


def duplicate_check_answer(point: OperatingPoint, gallery: int) -> DuplicateCheckAnswer:
    """Return how an enrolment was searched for duplicates among `gallery` templates."""
    return DuplicateCheckAnswer(
        operating_point=point.name,
        threshold=point.threshold,
        gallery=gallery,
        fpir_bound=fpir_bound(point, gallery),
    )


def duplicate_warning(check: DuplicateCheckAnswer) -> ProblemAnswer:
    """Return the warning about a photo that resembles another subject."""
    return ProblemAnswer(
        code="possible_duplicate",
        detail=f"Another subject has this face: a similarity of {check.threshold:.3f} or more, "
        f"by mistake in at most {check.fpir_bound:.2%} of enrolments.",
        advice="Find out whether one person is enrolled under two names.",
    )


def fpir_bound(point: OperatingPoint, gallery: int) -> float:
    """Return the highest chance that a stranger finds a match among `gallery` templates.

    It is FMR times templates, at most 1.
    """
    return min(1.0, point.fmr.value * gallery)


def face_answer(probe: Probe) -> FaceAnswer:
    """Return the face that was used of a photo."""
    report = probe.report
    return FaceAnswer(
        box=BoxAnswer.model_validate(report.box),
        faces=report.faces,
        turns=report.turns,
        image_width=report.image_width,
        image_height=report.image_height,
        quality=QualityAnswer.model_validate(report.quality),
        conditions=sorted(probe.template.conditions),
        recognisability=probe.template.quality,
    )


def took_answer(probe: Probe) -> TookAnswer:
    """Return how long each stage took, in milliseconds."""
    times = probe.times
    return TookAnswer(
        decode_ms=_ms(times.decode_s),
        detect_ms=_ms(times.detect_s),
        align_ms=_ms(times.align_s),
        queue_ms=_ms(times.queue_s),
        forward_ms=_ms(times.forward_s),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def point_answer(point: OperatingPoint) -> OperatingPointAnswer:
    """Return an operating point and its error rates."""
    return OperatingPointAnswer.model_validate(point)


def evidence_answer(evidence: Evidence, point: OperatingPoint | None) -> EvidenceAnswer:
    """Return what the error rates were measured on; a point may have photos of its own."""
    own = "" if point is None else point.data
    return EvidenceAnswer(
        data=own or evidence.data,
        conditions=list(evidence.conditions),
        photos=evidence.photos,
    )


def problem_answer(error: LikenessError) -> ProblemAnswer:
    """Return an error as a part of an answer."""
    return ProblemAnswer(code=error.code, detail=error.sentence, advice=error.advice)


def unused_photo_answer(photo: UnusedPhoto) -> UnusedPhotoAnswer:
    """Return which photo could not be used, and why."""
    return UnusedPhotoAnswer(image=photo.image, problem=problem_answer(photo.error))
