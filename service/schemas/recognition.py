"""The answers of enroll, verify, identify and embed, with their evidence."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.decision import ConditionName, Outcome

Liveness = Literal["passed", "not_checked"]


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


# Measured in pixels or grey values: more digits would mean nothing.
RoundedFloat = Annotated[float, AfterValidator(lambda value: round(value, 3))]


class BoxAnswer(Answer):
    left: RoundedFloat = Field(examples=[102.0], description="pixels of the upright image")
    top: RoundedFloat = Field(examples=[64.0])
    width: RoundedFloat = Field(examples=[180.0])
    height: RoundedFloat = Field(examples=[180.0])


class IssueAnswer(Answer):
    code: str = Field(examples=["dark"])
    advice: str = Field(examples=["Turn towards the light."])


class QualityAnswer(Answer):
    face_px: RoundedFloat = Field(
        examples=[180.0], description="shorter side of the face's box, pixels"
    )
    sharpness: RoundedFloat = Field(
        examples=[14.2], description="standard deviation of the Laplacian, grey values"
    )
    brightness: RoundedFloat = Field(examples=[128.0], description="mean grey value, 0 to 255")
    contrast: RoundedFloat = Field(
        examples=[47.0], description="standard deviation of the grey values"
    )
    roll_degrees: RoundedFloat = Field(examples=[2.5], description="tilt of the head, degrees")
    misfit: RoundedFloat = Field(
        examples=[0.03], description="distance from a frontal face's landmarks"
    )
    detection: RoundedFloat = Field(examples=[1.9], description="the detector's score")
    issues: list[IssueAnswer] = Field(description="what to improve in the next photo")


class FaceAnswer(Answer):
    box: BoxAnswer
    faces: int = Field(examples=[1], description="faces found in the image")
    turns: int = Field(examples=[0], description="quarter turns anticlockwise that make it upright")
    image_width: int = Field(examples=[512])
    image_height: int = Field(examples=[512])
    quality: QualityAnswer
    conditions: list[ConditionName] = Field(
        default=[], description="conditions that the quality head finds in the photo"
    )
    recognisability: RoundedFloat | None = Field(
        None,
        examples=[0.73],
        description="expected cosine with other photos of the same person; null if the bundle has "
        "no quality head",
    )


class TookAnswer(Answer):
    """Give the milliseconds that each stage took; photos of one request run in parallel."""

    decode_ms: float = Field(examples=[3.1])
    detect_ms: float = Field(examples=[16.0])
    align_ms: float = Field(examples=[0.6])
    queue_ms: float = Field(examples=[0.2])
    forward_ms: float = Field(examples=[9.5])


class RateAnswer(Answer):
    value: float = Field(examples=[0.001], description="as measured")
    low: float = Field(examples=[0.0005], description="lower end of the 95 % interval")
    high: float = Field(examples=[0.0016], description="upper end of the 95 % interval")


class OperatingPointAnswer(Answer):
    name: str = Field(examples=["fmr_1e-4"])
    threshold: float = Field(examples=[0.153])
    fmr: RateAnswer = Field(description="false match rate of one comparison")
    fnmr: RateAnswer = Field(description="false non-match rate of one comparison")
    held_out_fmr: float | None = Field(
        None, examples=[0.0011], description="FMR on people who were not used to set the threshold"
    )
    extrapolated: bool = Field(False, description="true if it rests on fewer than 30 false matches")
    kept: bool = Field(
        False,
        description="true if it comes from an earlier calibration, since the last one had too few "
        "photos",
    )
    data: str = Field(
        "", description="the photos it was measured on, if not those of the calibration"
    )


class ProblemAnswer(Answer):
    code: str = Field(examples=["no_face"])
    detail: str = Field(examples=["No face was found in the image, upright or turned."])
    advice: str | None = Field(None, examples=["Face the camera, in even light."])


class UnusedPhotoAnswer(Answer):
    image: int = Field(examples=[2], description="position among the images sent")
    problem: ProblemAnswer


class EvidenceAnswer(Answer):
    """Give the photos that the error rates of a decision were measured on."""

    data: str | None = Field(description="the photos, in a sentence; null without measured rates")
    conditions: list[ConditionName] = Field(
        description="the rates were measured under these conditions too; see `GET /model`"
    )
    photos: int = Field(
        examples=[5],
        description="the rates also hold for up to this many fused photos and fused templates",
    )


_SCORE = (
    "the score that is compared with the threshold, -2 to 1: the cosine, less what both faces have "
    "in common with all faces, so that a threshold means the same for every face"
)
_DOUBTS = (
    "conditions of the photos on both sides for which the error rates do not hold: with such a "
    "condition, strangers match more than twice as often as the operating point claims"
)


class VerifyAnswer(Answer):
    verified: bool = Field(description="true only for the decision `match`")
    decision: Outcome
    similarity: float = Field(examples=[0.617], description=_SCORE)
    cosine: float = Field(examples=[0.857], description="cosine of the two vectors, -1 to 1")
    probability: float | None = Field(
        None,
        examples=[0.998],
        description="probability that both sides show one person, if that was as likely as not "
        "beforehand; null if the bundle is not calibrated for it",
    )
    threshold: float = Field(examples=[0.153], description="a match at this similarity or above")
    floor: float = Field(
        examples=[0.096],
        description="no match below; between `floor` and `threshold`: inconclusive",
    )
    operating_point: OperatingPointAnswer | None = Field(
        None, description="null if the request chose the threshold: its error rates are not known"
    )
    comparisons: int = Field(
        examples=[1], description="number of templates of the subject, fused and compared"
    )
    fmr_bound: float | None = Field(
        None,
        examples=[0.0001],
        description="probability that a stranger matches; it does not rise with the number of "
        "templates, since these are fused",
    )
    doubts: list[ConditionName] = Field(default=[], description=_DOUBTS)
    evidence: EvidenceAnswer = Field(description="the photos that the error rates were measured on")
    explanation: str = Field(description="the decision in a sentence")
    subject: str | None = Field(None, examples=["ada"])
    template_id: str | None = Field(None, description="the subject's template that is most similar")
    faces: list[FaceAnswer] = Field(
        description="the face that was used, for each photo that was used"
    )
    unused: list[UnusedPhotoAnswer] = Field(
        default=[], description="photos that could not be used; the others decided"
    )
    liveness: Liveness = Field(
        "not_checked", description="`passed` if a liveness_token was sent and is valid"
    )
    fingerprint: str = Field(
        examples=["5ff4a49eee64..."], description="fingerprint of the bundle that decided"
    )
    took: list[TookAnswer] = Field(description="for each photo that was used")


class EmbeddedImage(Answer):
    image: int = Field(examples=[0], description="position among the images sent")
    status: Literal["embedded", "failed"]
    vector: list[float] | None = Field(None, description="float32 values")
    face: FaceAnswer | None = None
    took: TookAnswer | None = None
    problem: ProblemAnswer | None = None


class EmbedAnswer(Answer):
    images: list[EmbeddedImage]
    output: Literal["vector", "features"]
    dimension: int = Field(examples=[128])
    fingerprint: str = Field(
        examples=["5ff4a49eee64..."], description="fingerprint of the bundle that decided"
    )


class CandidateAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(
        examples=["passport-2026"], description="the template that is most similar"
    )
    similarity: float = Field(examples=[0.617], description=_SCORE)
    cosine: float = Field(examples=[0.857], description="cosine of the two vectors, -1 to 1")
    doubts: list[ConditionName] = Field(default=[], description=_DOUBTS)


class IdentifyAnswer(Answer):
    outcome: Literal["identified", "unknown", "inconclusive"] = Field(
        description="`inconclusive` if there are candidates, and each has doubts"
    )
    candidates: list[CandidateAnswer] = Field(description="at or above the threshold, best first")
    threshold: float = Field(
        examples=[0.153], description="a candidate at this similarity or above"
    )
    operating_point: OperatingPointAnswer | None = None
    gallery: int = Field(examples=[120], description="number of templates searched")
    fpir_bound: float | None = Field(
        None,
        description="highest probability that a stranger is identified: FMR times templates",
    )
    face: FaceAnswer = Field(description="the face of the first photo that was used")
    unused: list[UnusedPhotoAnswer] = Field(
        default=[], description="photos that could not be used; the others decided"
    )
    evidence: EvidenceAnswer = Field(description="the photos that the error rates were measured on")
    liveness: Liveness = Field(
        "not_checked", description="`passed` if a liveness_token was sent and is valid"
    )
    fingerprint: str = Field(
        examples=["5ff4a49eee64..."], description="fingerprint of the bundle that decided"
    )
    took: TookAnswer


class DuplicateCheckAnswer(Answer):
    operating_point: str = Field(
        examples=["fmr_1e-5"], description="chosen for the size of the gallery"
    )
    threshold: float = Field(
        examples=[0.223], description="a possible duplicate at this similarity or above"
    )
    gallery: int = Field(examples=[120], description="highest number of templates searched")
    fpir_bound: float = Field(
        examples=[0.0011],
        description="highest probability that a photo of a new person gets the warning: FMR times "
        "templates",
    )


class EnrolledImage(Answer):
    image: int = Field(examples=[0], description="position among the images sent")
    status: Literal["enrolled", "already_enrolled", "failed"]
    template_id: str | None = Field(None, examples=["passport-2026"])
    face: FaceAnswer | None = None
    problem: ProblemAnswer | None = None
    warnings: list[ProblemAnswer] = Field(
        default=[],
        description="problems of a photo that was enrolled nevertheless: `low_quality`, "
        "`inconsistent` or `possible_duplicate`",
    )
    possible_duplicates: list[CandidateAnswer] = Field(
        default=[],
        description="other subjects with the same face, best first; empty unless the key has the "
        "scope `verify` or `admin`",
    )


class EnrollAnswer(Answer):
    subject: str = Field(examples=["ada"])
    images: list[EnrolledImage]
    liveness: Liveness = Field(
        "not_checked", description="`passed` if a liveness_token was sent and is valid"
    )
    fingerprint: str = Field(
        examples=["5ff4a49eee64..."], description="fingerprint of the bundle that decided"
    )
    duplicate_check: DuplicateCheckAnswer | None = Field(
        None,
        description="null if nothing was searched, by the settings or without operating points",
    )
