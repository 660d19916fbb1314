"""What `GET /model` and the probes say about the service itself."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from models.decision import ConditionName
from service.schemas.answers import Answer, OperatingPointAnswer, RateAnswer

if TYPE_CHECKING:
    from models.bundle import Licence


class BatchAnswer(Answer):
    limit: int = Field(examples=[8], description="largest batch that fits memory now")
    max_batch: int = Field(examples=[8])
    max_queue: int = Field(examples=[64])


class CurveAnswer(Answer):
    """Give both error rates at rising thresholds; the lists are of one length."""

    thresholds: list[float] = Field(examples=[[0.09, 0.1]], description="similarities")
    fmr: list[float] = Field(examples=[[0.01, 0.003]], description="false match rates")
    fnmr: list[float] = Field(examples=[[0.024, 0.042]], description="false non-match rates")
    genuine_pairs: int = Field(examples=[983], description="comparisons that the FNMR rests on")
    impostor_pairs: int = Field(examples=[1196396], description="and the FMR")
    errors_wanted: int = Field(
        examples=[30], description="a rate that rests on fewer errors is a guess"
    )


class GroupAnswer(Answer):
    """Give how often strangers of one group match at an operating point of everybody."""

    group: str = Field(examples=["age 0-12"])
    point: str = Field(examples=["fmr_1e-4"])
    images: int = Field(examples=[612], description="photos of the group")
    failure_to_enrol: float = Field(examples=[0.001])
    impostor_pairs: int = Field(examples=[186966], description="comparisons of strangers")
    fmr: RateAnswer | None
    fnmr: RateAnswer | None = Field(description="none where no photos of one person were compared")
    data: str = Field(description="what the photos are")


class ConditionAnswer(Answer):
    """Give what a condition does to decisions at an operating point."""

    condition: ConditionName | Literal["none"] = Field(
        description="put on both photos; `none`: the same photos as they are"
    )
    point: str = Field(examples=["fmr_1e-4"])
    impostor_pairs: int = Field(examples=[14707503], description="comparisons of strangers")
    fmr: RateAnswer
    match_rate: float | None = Field(
        examples=[0.78], description="share of comparisons of one person that match"
    )
    match_rate_one: float | None = Field(
        examples=[0.91], description="the same, where the condition is put on one photo alone"
    )
    data: str = Field(description="what the photos of strangers are")
    match_data: str = Field("", description="what the match rates were measured on")


class FusionAnswer(Answer):
    """Give both rates at an operating point where several photos of one person are fused."""

    probes: int = Field(examples=[3], description="photos sent")
    templates: int = Field(examples=[5], description="templates of the subject")
    point: str = Field(examples=["fmr_1e-4"])
    fmr: float = Field(examples=[0.00009])
    fnmr: float = Field(examples=[0.0004])
    genuine: int = Field(examples=[1720], description="comparisons of one person")
    impostor: int = Field(examples=[2924000], description="comparisons of two people")
    data: str = Field(description="what the photos are")


class CohortAnswer(Answer):
    """Say what scores are normalised by."""

    sha256: str = Field(description="changes whenever scores do")
    faces: int = Field(examples=[600], description="each the mean of several people")
    nearest: int = Field(examples=[10], description="of which so many count for a face")
    photos: str = Field(description="what they were made of")


class LicenceAnswer(Answer):
    part: Literal["detector", "encoder", "head"]
    network: str = Field(examples=["SFace 2021dec"])
    licence: str = Field(examples=["Apache-2.0"], description="of its weights, by SPDX")

    @classmethod
    def of(cls, licence: "Licence") -> Self:
        return cls(part=licence.part, network=licence.network, licence=licence.licence)


class ModelAnswer(Answer):
    name: str = Field(examples=["sface"])
    chosen_because: str = Field(description="why this bundle is served")
    fingerprint: str = Field(description="changes whenever vectors stop being comparable")
    other_fingerprints: list[str] = Field(
        description="of a bundle that enrols beside this one, during a change of bundle"
    )
    dimension: int = Field(examples=[128])
    encoder: str = Field(description="kind of encoder")
    trained_on: str = Field(description="what it was trained on")
    not_good_for: str = Field(description="where it should not be trusted")
    calibrated_on: str | None = Field(description="photos that its error rates were measured on")
    accuracy: float | None = Field(None, examples=[0.987])
    failure_to_enrol: float | None = Field(None, examples=[0.001])
    operating_points: list[OperatingPointAnswer]
    default_operating_point: str | None = Field(description="used when a request names none")
    curve: CurveAnswer | None = Field(None, description="none if the bundle brings none")
    cohort: CohortAnswer | None = Field(
        None, description="none if scores of the bundle are plain cosines"
    )
    quality: str | None = Field(
        None, description="what the learned judge of photos learned from; none if there is none"
    )
    groups: list[GroupAnswer] = Field(default=[], description="false matches by group of people")
    conditions: list[ConditionAnswer] = Field(
        default=[], description="what blur, masks and so on do to the rates"
    )
    fusion: list[FusionAnswer] = Field(
        default=[], description="what more photos are worth, at the same thresholds"
    )
    detector: str = Field(examples=["yunet"], description="what finds faces")
    licences: list[LicenceAnswer] = Field(description="of every network that is used")
    device: str = Field(description="what computes")
    engine: str = Field(examples=["torch"], description="what runs the encoder")
    precision: str = Field(description="number format of the encoder")
    batch: BatchAnswer
    liveness: Literal["none"] = Field("none", description="photos of photos are not detected")


class Health(Answer):
    status: Literal["ok"] = "ok"
    damaged: int = Field(
        0, description="values in the store that cannot be read and are left out, as far as was met"
    )
