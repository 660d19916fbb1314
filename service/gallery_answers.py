"""What callers get back about stored subjects."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from service.answers import Answer


class TemplateAnswer(Answer):
    template_id: str
    fingerprint: str
    image_sha256: str
    quality: dict[str, float]
    created_at: datetime
    expires_at: datetime | None = None


class SubjectSummaryAnswer(Answer):
    subject: str = Field(examples=["ada"])
    templates: int = Field(examples=[2])
    created_at: datetime
    metadata: dict[str, str]
    fingerprints: list[str]


class SubjectAnswer(Answer):
    subject: str = Field(examples=["ada"])
    created_at: datetime
    metadata: dict[str, str]
    templates: list[TemplateAnswer]


class SubjectsAnswer(Answer):
    items: list[SubjectSummaryAnswer]
    next: str | None = Field(None, description="pass as `after` to get the next page")


class ExportedTemplateAnswer(TemplateAnswer):
    vector: list[float] = Field(description="float32 values, of unit length")

    @field_validator("vector", mode="before")
    @classmethod
    def as_list(cls, vector: NDArray[np.float32]) -> list[float]:
        return [float(number) for number in vector]


class ExportAnswer(Answer):
    subject: str
    created_at: datetime
    metadata: dict[str, str]
    templates: list[ExportedTemplateAnswer]


class DeletedAnswer(Answer):
    subjects: int = Field(examples=[1])
    templates: int = Field(examples=[2])
