"""Requests and answers, with the fields of CompreFace's API."""

from pydantic import BaseModel, Field, RootModel

from service.schemas.recognition import Answer
from service.schemas.requests import Photo, SubjectId


class Options(BaseModel):
    """Hold which faces of a photo are used, and what the answer tells; a limit of 0 is no limit."""

    limit: int = Field(0, ge=0)
    det_prob_threshold: float = Field(0.0, ge=0, le=1)
    prediction_count: int = Field(1, ge=1)
    face_plugins: str = ""
    status: bool = False
    detect_faces: bool = True

    @property
    def wants_vectors(self) -> bool:
        """Tell whether the request names `calculator`, the one plugin that exists here."""
        return "calculator" in (name.strip() for name in self.face_plugins.split(","))


class OnePhoto(Options):
    file: Photo


class NewExample(OnePhoto):
    subject: SubjectId


class TwoPhotos(Options):
    source_image: Photo
    target_image: Photo


class NewSubject(BaseModel):
    subject: SubjectId


class ImageIds(RootModel[list[str]]):
    pass


class Vectors(BaseModel):
    embeddings: list[list[float]] = Field(min_length=1)


class SourceAndTargets(BaseModel):
    source: list[float]
    targets: list[list[float]] = Field(min_length=1)


class Box(Answer):
    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class ExecutionTime(Answer):
    """Hold times in milliseconds."""

    detector: float
    calculator: float


class PluginVersions(Answer):
    detector: str
    calculator: str


class Face(Answer):
    """Describe a face; fields that the request does not ask for are left out."""

    box: Box
    embedding: list[float] | None = None
    execution_time: ExecutionTime | None = None


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
    plugins_versions: PluginVersions | None


class Recognition(Answer):
    result: list[RecognizedFace]
    plugins_versions: PluginVersions | None


class Verification(Answer):
    result: list[VerifiedFace]
    plugins_versions: PluginVersions | None


class Matches(Answer):
    source_image_face: Face
    face_matches: list[ComparedFace]
    plugins_versions: PluginVersions | None


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


class RenameResult(Answer):
    updated: bool


class DeletedCount(Answer):
    deleted: int
