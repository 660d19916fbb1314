"""Rekognition's shapes: boxes and landmarks as shares of the image, certainties in per cent."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict
from pydantic.alias_generators import to_pascal

from models.photo import DetectorName
from service.compat.scales import face_probability
from service.pipeline.decode import FaceReport
from service.schemas.recognition import Answer

Share = Annotated[float, AfterValidator(lambda value: round(value, 6))]
Percent = Annotated[float, AfterValidator(lambda value: round(value, 4))]


class Shape(Answer):
    """Go by the names that AWS gives the members; what there is none of is left out."""

    model_config = ConfigDict(alias_generator=to_pascal, validate_by_name=True)

    def written(self) -> str:
        """Return it as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


class BoundingBox(Shape):
    width: Share
    height: Share
    left: Share
    top: Share


class Landmark(Shape):
    type: str
    x: Share
    y: Share


class Pose(Shape):
    """Hold the one angle that is measured: how far the head is tilted, in degrees."""

    roll: Share


class ImageQuality(Shape):
    """Hold the mean grey value in per cent of white, and the deviation of the Laplacian."""

    brightness: Percent
    sharpness: Percent


class SeenFace(Shape):
    bounding_box: BoundingBox
    confidence: Percent


class FaceDetail(SeenFace):
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


class Face(SeenFace):
    """Describe a face in a collection."""

    face_id: str
    image_id: str
    external_image_id: str | None = None


def box_of(report: FaceReport) -> BoundingBox:
    """Return where the face is; it may reach over the border of the image, as it does there."""
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


# Left and right are the viewer's. dlib sees the corners of the eyes, YuNet their middles.
_CORNERS = ("rightEyeRight", "rightEyeLeft", "leftEyeLeft", "leftEyeRight", "nose")
_MIDDLES = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")


def _landmarks(report: FaceReport, detector: DetectorName) -> list[Landmark]:
    size = report.image_width, report.image_height
    points = [(x / size[0], y / size[1]) for x, y in report.landmarks.tolist()]
    match detector:
        case "dlib":
            named = dict(zip(_CORNERS, points, strict=True))
            named = {
                "eyeLeft": _middle([named["leftEyeLeft"], named["leftEyeRight"]]),
                "eyeRight": _middle([named["rightEyeLeft"], named["rightEyeRight"]]),
                **named,
            }
        case "yunet":
            named = dict(zip(_MIDDLES, points, strict=True))
        case _:
            named = {}
    return [Landmark(type=name, x=x, y=y) for name, (x, y) in named.items()]


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    (x, y), (other_x, other_y) = points
    return (x + other_x) / 2, (y + other_y) / 2
