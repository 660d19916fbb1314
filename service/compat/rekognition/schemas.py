"""Requests and responses, under the names that Rekognition's API reference gives them.

Boxes and landmarks are shares of the image's size; confidences and similarities are in per cent.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_pascal
from pydantic_core import PydanticCustomError

from models.datasets.names import as_id
from models.photo import DetectorName
from service.compat.scales import face_probability
from service.pipeline.decode import FaceReport
from service.schemas.recognition import Answer
from service.schemas.requests import Body, Photo

_MAX_RESULTS = 4096
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

CollectionName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-zA-Z0-9_.\-]+$", max_length=255),
    AfterValidator(as_id),
]
ExternalId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.\-:]+$", max_length=255)]
FaceId = Annotated[str, StringConstraints(pattern=_UUID)]
Percent = Annotated[float, Field(ge=0, le=100)]
QualityFilter = Literal["NONE", "AUTO", "LOW", "MEDIUM", "HIGH"]
ResultCount = Annotated[int, Field(ge=1, le=_MAX_RESULTS)]
# Long enough for a name of 256 characters and a checksum.
PageToken = Annotated[str, StringConstraints(max_length=2048)]


class RequestShape(Body):
    """Read members by the names that AWS gives them; refuse unknown members by their names."""

    model_config = ConfigDict(alias_generator=to_pascal)


def _only_bytes(value: object) -> object:
    if isinstance(value, dict) and "S3Object" in value:
        raise PydanticCustomError("image", "Send Bytes: this service does not read from S3")
    return value


class PhotoBytes(RequestShape):
    photo: Photo = Field(alias="Bytes")


Image = Annotated[PhotoBytes, BeforeValidator(_only_bytes)]


class CompareFacesRequest(RequestShape):
    source_image: Image
    target_image: Image
    similarity_threshold: Percent | None = None
    quality_filter: QualityFilter = "NONE"


class DetectFacesRequest(RequestShape):
    image: Image
    # Accepted, but the answer always has the attributes of DEFAULT.
    attributes: list[str] = Field([])


class IndexFacesRequest(RequestShape):
    collection_id: CollectionName
    image: Image
    external_image_id: ExternalId | None = None
    detection_attributes: list[str] = Field([])
    max_faces: Annotated[int, Field(ge=1)] | None = None
    quality_filter: QualityFilter = "AUTO"


class SearchRequest(RequestShape):
    """Hold where to search, and from which similarity on a face is a match."""

    collection_id: CollectionName
    max_faces: ResultCount = 80
    face_match_threshold: Percent | None = None


class SearchFacesByImageRequest(SearchRequest):
    image: Image
    quality_filter: QualityFilter = "NONE"


class SearchFacesRequest(SearchRequest):
    face_id: FaceId


class CreateCollectionRequest(RequestShape):
    collection_id: CollectionName
    tags: dict[str, str] = Field({}, max_length=0)


class ListCollectionsRequest(RequestShape):
    next_token: PageToken | None = None
    max_results: ResultCount = 1000


class DescribeCollectionRequest(RequestShape):
    collection_id: CollectionName


class DeleteCollectionRequest(RequestShape):
    collection_id: CollectionName


class ListFacesRequest(RequestShape):
    collection_id: CollectionName
    next_token: PageToken | None = None
    max_results: ResultCount = 1000
    face_ids: list[FaceId] | None = Field(None, min_length=1, max_length=_MAX_RESULTS)


class DeleteFacesRequest(RequestShape):
    collection_id: CollectionName
    face_ids: list[FaceId] = Field(min_length=1, max_length=_MAX_RESULTS)


RoundedShare = Annotated[float, AfterValidator(lambda value: round(value, 6))]
RoundedPercent = Annotated[float, AfterValidator(lambda value: round(value, 4))]


class ResponseShape(Answer):
    """Write members under the names that AWS gives them, and leave out those without a value."""

    model_config = ConfigDict(alias_generator=to_pascal, validate_by_name=True)

    def to_json(self) -> str:
        """Return the response as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


class BoundingBox(ResponseShape):
    width: RoundedShare
    height: RoundedShare
    left: RoundedShare
    top: RoundedShare


class Landmark(ResponseShape):
    type: str
    x: RoundedShare
    y: RoundedShare


class Pose(ResponseShape):
    """Hold the one angle that is measured: how far the head is tilted to a side, in degrees."""

    roll: RoundedShare


class ImageQuality(ResponseShape):
    """Hold the mean grey value in per cent of white, and the deviation of the Laplacian."""

    brightness: RoundedPercent
    sharpness: RoundedPercent


class FaceLocation(ResponseShape):
    """Hold where a face is, and how sure the detector is that it is a face."""

    bounding_box: BoundingBox
    confidence: RoundedPercent


class FaceDetail(FaceLocation):
    landmarks: list[Landmark]
    pose: Pose
    quality: ImageQuality

    @classmethod
    def of(cls, report: FaceReport, detector: DetectorName) -> Self:
        measured = report.quality
        return cls(
            bounding_box=box_of(report),
            confidence=confidence_of(report, detector),
            landmarks=_landmarks(report, detector),
            pose=Pose(roll=measured.roll_degrees),
            quality=ImageQuality(
                brightness=100 * measured.brightness / 255,
                sharpness=min(100.0, measured.sharpness),
            ),
        )


class Face(FaceLocation):
    """Describe a face of a collection."""

    face_id: str
    image_id: str
    external_image_id: str | None = None


def box_of(report: FaceReport) -> BoundingBox:
    """Return where the face is; as with Rekognition, it can reach over the edge of the image."""
    box, width, height = report.box, report.image_width, report.image_height
    return BoundingBox(
        width=box.width / width,
        height=box.height / height,
        left=box.left / width,
        top=box.top / height,
    )


def confidence_of(report: FaceReport, detector: DetectorName) -> float:
    """Return how sure the detector is that this is a face, 0 to 100."""
    return 100 * face_probability(report.score, detector)


# Left and right as the viewer sees them. dlib finds the corners of the eyes, YuNet their centres.
_CORNERS = ("rightEyeRight", "rightEyeLeft", "leftEyeLeft", "leftEyeRight", "nose")
_CENTRES = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")


def _landmarks(report: FaceReport, detector: DetectorName) -> list[Landmark]:
    size = report.image_width, report.image_height
    points = [(x / size[0], y / size[1]) for x, y in report.landmarks.tolist()]
    match detector:
        case "dlib":
            named = dict(zip(_CORNERS, points, strict=True))
            named = {
                "eyeLeft": _centre([named["leftEyeLeft"], named["leftEyeRight"]]),
                "eyeRight": _centre([named["rightEyeLeft"], named["rightEyeRight"]]),
                **named,
            }
        case "yunet":
            named = dict(zip(_CENTRES, points, strict=True))
        case _:
            named = {}
    return [Landmark(type=name, x=x, y=y) for name, (x, y) in named.items()]


def _centre(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    (x, y), (other_x, other_y) = points
    return (x + other_x) / 2, (y + other_y) / 2


Reason = Literal[
    "EXCEEDS_MAX_FACES",
    "EXTREME_POSE",
    "LOW_BRIGHTNESS",
    "LOW_SHARPNESS",
    "LOW_FACE_QUALITY",
]


class CompareFacesMatch(ResponseShape):
    similarity: RoundedPercent
    face: FaceDetail


class CompareFacesResponse(ResponseShape):
    source_image_face: FaceLocation
    face_matches: list[CompareFacesMatch]
    unmatched_faces: list[FaceDetail]


class DetectFacesResponse(ResponseShape):
    face_details: list[FaceDetail]


class FaceRecord(ResponseShape):
    face: Face
    face_detail: FaceDetail


class UnindexedFace(ResponseShape):
    reasons: list[Reason]
    face_detail: FaceDetail


class IndexFacesResponse(ResponseShape):
    face_records: list[FaceRecord]
    unindexed_faces: list[UnindexedFace]
    face_model_version: str


class FaceMatch(ResponseShape):
    similarity: RoundedPercent
    face: Face


class SearchFacesResponse(ResponseShape):
    searched_face_id: str
    face_matches: list[FaceMatch]
    face_model_version: str


class SearchFacesByImageResponse(ResponseShape):
    searched_face_bounding_box: BoundingBox
    searched_face_confidence: RoundedPercent
    face_matches: list[FaceMatch]
    face_model_version: str


class CreateCollectionResponse(ResponseShape):
    status_code: int
    collection_arn: str
    face_model_version: str


class ListCollectionsResponse(ResponseShape):
    collection_ids: list[str]
    face_model_versions: list[str]
    next_token: str | None


class DescribeCollectionResponse(ResponseShape):
    face_count: int
    face_model_version: str
    collection_arn: str
    creation_timestamp: float
    """Seconds since 1970."""


class DeleteCollectionResponse(ResponseShape):
    status_code: int


class ListFacesResponse(ResponseShape):
    faces: list[Face]
    next_token: str | None
    face_model_version: str


class UnsuccessfulFaceDeletion(ResponseShape):
    face_id: str
    reasons: list[Literal["FACE_NOT_FOUND"]]


class DeleteFacesResponse(ResponseShape):
    deleted_faces: list[str]
    unsuccessful_face_deletions: list[UnsuccessfulFaceDeletion]
