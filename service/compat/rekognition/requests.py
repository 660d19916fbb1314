"""What Rekognition's operations take; a member that is not known here is refused by its name."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_pascal
from pydantic_core import PydanticCustomError

from models.datasets.names import as_id
from service.schemas.requests import Body, Photo

_MOST = 4096
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
Results = Annotated[int, Field(ge=1, le=_MOST)]
# A name of 256 characters, and what tells it from anything else.
Token = Annotated[str, StringConstraints(max_length=2048)]


class Call(Body):
    """Take members by the names that AWS gives them."""

    model_config = ConfigDict(alias_generator=to_pascal)


def _only_bytes(value: object) -> object:
    if isinstance(value, dict) and "S3Object" in value:
        raise PydanticCustomError("image", "Send the Bytes: nothing is read from S3 here")
    return value


class PhotoBytes(Call):
    photo: Photo = Field(alias="Bytes")


Image = Annotated[PhotoBytes, BeforeValidator(_only_bytes)]


class CompareFaces(Call):
    source_image: Image
    target_image: Image
    similarity_threshold: Percent | None = None
    quality_filter: QualityFilter = "NONE"


class DetectFaces(Call):
    image: Image
    # Whatever is asked for, what there is comes: the attributes of DEFAULT.
    attributes: list[str] = Field([])


class IndexFaces(Call):
    collection_id: CollectionName
    image: Image
    external_image_id: ExternalId | None = None
    detection_attributes: list[str] = Field([])
    max_faces: Annotated[int, Field(ge=1)] | None = None
    quality_filter: QualityFilter = "AUTO"


class Search(Call):
    """Say where to search, and what counts as found."""

    collection_id: CollectionName
    max_faces: Results = 80
    face_match_threshold: Percent | None = None


class SearchFacesByImage(Search):
    image: Image
    quality_filter: QualityFilter = "NONE"


class SearchFaces(Search):
    face_id: FaceId


class CreateCollection(Call):
    collection_id: CollectionName
    tags: dict[str, str] = Field({}, max_length=0)


class ListCollections(Call):
    next_token: Token | None = None
    max_results: Results = 1000


class DescribeCollection(Call):
    collection_id: CollectionName


class DeleteCollection(Call):
    collection_id: CollectionName


class ListFaces(Call):
    collection_id: CollectionName
    next_token: Token | None = None
    max_results: Results = 1000
    face_ids: list[FaceId] | None = Field(None, min_length=1, max_length=_MOST)


class DeleteFaces(Call):
    collection_id: CollectionName
    face_ids: list[FaceId] = Field(min_length=1, max_length=_MOST)
