"""What `GET /model` and the probes say about the service itself."""

from typing import Literal

from pydantic import Field

from service.answers import Answer, OperatingPointAnswer


class BatchAnswer(Answer):
    limit: int = Field(examples=[8], description="largest batch that fits memory now")
    max_batch: int = Field(examples=[8])
    max_queue: int = Field(examples=[64])


class ModelAnswer(Answer):
    name: str = Field(examples=["dlib"])
    chosen_because: str
    fingerprint: str
    dimension: int = Field(examples=[128])
    encoder: str
    trained_on: str
    not_good_for: str
    calibrated_on: str | None
    accuracy: float | None = Field(None, examples=[0.987])
    failure_to_enrol: float | None = Field(None, examples=[0.001])
    operating_points: list[OperatingPointAnswer]
    default_operating_point: str | None
    detector: str
    device: str
    precision: str
    batch: BatchAnswer
    liveness: Literal["none"] = Field("none", description="photos of photos are not detected")


class Health(Answer):
    status: Literal["ok"] = "ok"
