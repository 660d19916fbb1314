"""What Rekognition's operations answer."""

from typing import Literal

from service.compat.rekognition.shapes import (
    BoundingBox,
    Face,
    FaceDetail,
    Percent,
    SeenFace,
    Shape,
)

Reason = Literal[
    "EXCEEDS_MAX_FACES",
    "EXTREME_POSE",
    "LOW_BRIGHTNESS",
    "LOW_SHARPNESS",
    "LOW_FACE_QUALITY",
]


class ComparedMatch(Shape):
    similarity: Percent
    face: FaceDetail


class Compared(Shape):
    source_image_face: SeenFace
    face_matches: list[ComparedMatch]
    unmatched_faces: list[FaceDetail]


class Detected(Shape):
    face_details: list[FaceDetail]


class FaceRecord(Shape):
    face: Face
    face_detail: FaceDetail


class UnindexedFace(Shape):
    reasons: list[Reason]
    face_detail: FaceDetail


class Indexed(Shape):
    face_records: list[FaceRecord]
    unindexed_faces: list[UnindexedFace]
    face_model_version: str


class FaceMatch(Shape):
    similarity: Percent
    face: Face


class Searched(Shape):
    searched_face_id: str | None = None
    searched_face_bounding_box: BoundingBox | None = None
    searched_face_confidence: Percent | None = None
    face_matches: list[FaceMatch]
    face_model_version: str


class CollectionCreated(Shape):
    status_code: int
    collection_arn: str
    face_model_version: str


class Collections(Shape):
    collection_ids: list[str]
    face_model_versions: list[str]
    next_token: str | None


class CollectionDescribed(Shape):
    face_count: int
    face_model_version: str
    collection_arn: str
    creation_timestamp: float
    """Seconds since 1970."""


class CollectionDeleted(Shape):
    status_code: int


class Faces(Shape):
    faces: list[Face]
    next_token: str | None
    face_model_version: str


class NotDeleted(Shape):
    face_id: str
    reasons: list[Literal["FACE_NOT_FOUND"]]


class FacesDeleted(Shape):
    deleted_faces: list[str]
    unsuccessful_face_deletions: list[NotDeleted]
