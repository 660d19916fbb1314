"""The parts that several answers have: faces, times, points, evidence, problems."""

from models.decision import Evidence, OperatingPoint
from models.errors import LikenessError
from service.pipeline.pipeline import Probe
from service.recognition.matcher import UnusedPhoto
from service.schemas.recognition import (
    BoxAnswer,
    EvidenceAnswer,
    FaceAnswer,
    OperatingPointAnswer,
    ProblemAnswer,
    QualityAnswer,
    TookAnswer,
    UnusedPhotoAnswer,
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
