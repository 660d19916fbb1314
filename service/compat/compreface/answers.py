"""CompreFace's answers, in its fields and its scales."""

from dataclasses import dataclass
from typing import Self

from models.decision import Template, similarity
from service.compat.compreface.requests import Options
from service.compat.scales import face_probability, likeness
from service.pipeline.pipeline import Probe
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.schemas.recognition import Answer


class Box(Answer):
    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class ExecutionTime(Answer):
    """Give milliseconds."""

    detector: float
    calculator: float


class Versions(Answer):
    detector: str
    calculator: str


@dataclass(frozen=True, slots=True)
class Words:
    """Say what was found as a request asked for it."""

    service: Service
    serving: Recogniser
    options: Options

    def probability(self, probe: Probe) -> float:
        return face_probability(probe.report.score, self.serving.bundle.detector.name)

    def likeness(self, score: float) -> float:
        bundle = self.serving.bundle
        return likeness(score, bundle.operating_points, bundle.probability)

    def alike(self, one: Template, other: Template) -> float:
        return self.likeness(similarity(one, other))

    @property
    def versions(self) -> Versions | None:
        if not self.options.status:
            return None
        made_by = f"{self.serving.bundle.manifest.name} {self.serving.fingerprint[:12]}"
        return Versions(detector=self.serving.bundle.detector.name, calculator=made_by)


class Face(Answer):
    """Describe a face; fields that were not asked for are left out."""

    box: Box
    embedding: list[float] | None = None
    execution_time: ExecutionTime | None = None

    @classmethod
    def of(cls, probe: Probe, words: Words, **more: object) -> Self:
        """Describe a face, with `more` of what only some routes say."""
        vector = probe.row.vector.tolist() if words.options.wants_vectors else None
        return cls.model_validate(
            {
                "box": _box(probe, words),
                "embedding": vector,
                "execution_time": _time(probe) if words.options.status else None,
                **more,
            }
        )


class Prediction(Answer):
    subject: str
    similarity: float


class RecognizedFace(Face):
    subjects: list[Prediction]


class ComparedFace(Face):
    similarity: float


class VerifiedFace(ComparedFace):
    subject: str


class Detection(Answer):
    result: list[Face]
    plugins_versions: Versions | None


class Recognition(Answer):
    result: list[RecognizedFace]
    plugins_versions: Versions | None


class Verification(Answer):
    result: list[VerifiedFace]
    plugins_versions: Versions | None


class Matches(Answer):
    source_image_face: Face
    face_matches: list[ComparedFace]
    plugins_versions: Versions | None


class Comparison(Answer):
    result: list[Matches]


class Example(Answer):
    image_id: str
    subject: str


class Examples(Answer):
    faces: list[Example]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


class NamedVector(Answer):
    embedding: list[float]
    similarities: list[Prediction]


class ComparedVector(Answer):
    embedding: list[float]
    similarity: float


class NamedVectors(Answer):
    result: list[NamedVector]


class ComparedVectors(Answer):
    result: list[ComparedVector]


class Subjects(Answer):
    subjects: list[str]


class SubjectName(Answer):
    subject: str


class Updated(Answer):
    updated: bool


class DeletedCount(Answer):
    deleted: int


def _box(probe: Probe, words: Words) -> Box:
    box, report = probe.report.box, probe.report
    return Box(
        probability=words.probability(probe),
        x_max=min(round(box.left + box.width), report.image_width),
        y_max=min(round(box.top + box.height), report.image_height),
        x_min=max(round(box.left), 0),
        y_min=max(round(box.top), 0),
    )


def _time(probe: Probe) -> ExecutionTime:
    times = probe.times
    return ExecutionTime(
        detector=round(1000 * (times.decode_s + times.detect_s + times.align_s), 2),
        calculator=round(1000 * (times.queue_s + times.forward_s), 2),
    )
