"""What `GET /model` and the probes say about the service itself."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from service.answers import Answer, OperatingPointAnswer

if TYPE_CHECKING:
    from models.bundle import Licence


class BatchAnswer(Answer):
    limit: int = Field(examples=[8], description="largest batch that fits memory now")
    max_batch: int = Field(examples=[8])
    max_queue: int = Field(examples=[64])


class CurveAnswer(Answer):
    """Give both error rates at rising thresholds; the lists are of one length."""

    thresholds: list[float] = Field(examples=[[0.91, 0.92]], description="similarities")
    fmr: list[float] = Field(examples=[[0.01, 0.003]], description="false match rates")
    fnmr: list[float] = Field(examples=[[0.024, 0.042]], description="false non-match rates")
    genuine_pairs: int = Field(examples=[983], description="comparisons that the FNMR rests on")
    impostor_pairs: int = Field(examples=[1196396], description="and the FMR")
    errors_wanted: int = Field(
        examples=[30], description="a rate that rests on fewer errors is a guess"
    )


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
    detector: str = Field(examples=["yunet"], description="what finds faces")
    licences: list[LicenceAnswer] = Field(description="of every network that is used")
    device: str = Field(description="what computes")
    engine: str = Field(examples=["torch"], description="what runs the encoder")
    precision: str = Field(description="number format of the encoder")
    batch: BatchAnswer
    liveness: Literal["none"] = Field("none", description="photos of photos are not detected")


class Health(Answer):
    status: Literal["ok"] = "ok"
