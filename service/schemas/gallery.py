"""The answers about stored subjects."""

from base64 import b64encode
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from service.schemas.admin import EntryAnswer
from service.schemas.recognition import Answer


class TemplateAnswer(Answer):
    template_id: str = Field(examples=["passport-2026"])
    fingerprint: str = Field(description="fingerprint of the bundle that made it")
    image_sha256: str = Field(description="SHA-256 of the photo's bytes")
    quality: dict[str, float] = Field(examples=[{"face_px": 180.0, "sharpness": 14.2}])
    created_at: datetime = Field(examples=["2026-11-23T12:00:00Z"])
    expires_at: datetime | None = Field(
        None, description="the template is never matched from this time on"
    )


class DamageAnswer(Answer):
    """Name a stored value that cannot be read; it is left out everywhere."""

    part: str = Field(
        examples=["vector"], description="key, metadata, terms, times, quality, vector or photo"
    )
    reason: str = Field(
        examples=["It cannot be decrypted: it was changed, or moved from another place."]
    )
    template_id: str | None = Field(None, description="the template that it belongs to, if any")
    fingerprint: str | None = Field(
        None, description="fingerprint of the bundle that made the template"
    )


_DAMAGED = "stored values of the subject that cannot be read"


class TermsAnswer(Answer):
    consent: str | None = Field(
        examples=["form 12, signed 2026-11-23"], description="the ground for storing the subject"
    )
    purpose: str | None = Field(
        examples=["staff entrance"], description="the purpose of storing the subject"
    )


class SubjectSummaryAnswer(Answer):
    subject: str = Field(examples=["ada"])
    templates: int = Field(examples=[2])
    created_at: datetime = Field(examples=["2026-11-23T12:00:00Z"])
    metadata: dict[str, str] = Field(examples=[{"source": "onboarding"}])
    terms: TermsAnswer
    fingerprints: list[str] = Field(
        description="fingerprints of the bundles that made its templates"
    )
    damaged: list[DamageAnswer] = Field(
        [], description=_DAMAGED + "; templates are not checked here"
    )


class SubjectAnswer(Answer):
    subject: str = Field(examples=["ada"])
    created_at: datetime = Field(examples=["2026-11-23T12:00:00Z"])
    metadata: dict[str, str] = Field(examples=[{"source": "onboarding"}])
    terms: TermsAnswer
    templates: list[TemplateAnswer]
    damaged: list[DamageAnswer] = Field([], description=_DAMAGED)


class SubjectsAnswer(Answer):
    items: list[SubjectSummaryAnswer]
    next: str | None = Field(None, description="pass as `after` to get the next page")


class OddNameAnswer(Answer):
    subject: str = Field(description="the name as it is stored", examples=["Jose\u0301"])
    name: str | None = Field(description="its normal form, if it has one", examples=["Jos\u00e9"])
    reason: str = Field(description="why the normal form cannot be used")


class OddNamesAnswer(Answer):
    items: list[OddNameAnswer]
    next: str | None = Field(None, description="pass as `after` to get the next page")


class ExportedTemplateAnswer(TemplateAnswer):
    vector: list[float] = Field(description="float32 values, of unit length")

    @field_validator("vector", mode="before")
    @classmethod
    def as_list(cls, vector: NDArray[np.float32]) -> list[float]:
        return [float(number) for number in vector]


class PhotoAnswer(Answer):
    image_sha256: str = Field(description="SHA-256 of the photo's bytes")
    photo: str = Field(description="the photo's bytes as they were sent, in base64")

    @field_validator("photo", mode="before")
    @classmethod
    def as_base64(cls, photo: bytes | str) -> str:
        # A client builds this answer from JSON, where the photo is base64 already.
        return photo if isinstance(photo, str) else b64encode(photo).decode()


class ExportAnswer(Answer):
    subject: str = Field(examples=["ada"])
    created_at: datetime = Field(examples=["2026-11-23T12:00:00Z"])
    metadata: dict[str, str] = Field(examples=[{"source": "onboarding"}])
    terms: TermsAnswer
    templates: list[ExportedTemplateAnswer]
    photos: list[PhotoAnswer] = Field(description="the photos that the service kept")
    damaged: list[DamageAnswer] = Field([], description=_DAMAGED + "; they are left out here")


class RenamedAnswer(Answer):
    subject: str = Field(examples=["ada lovelace"])
    receipt: EntryAnswer = Field(description="the entry of the audit log")


class DeletedAnswer(Answer):
    subjects: int = Field(examples=[1])
    templates: int = Field(examples=[2])
    receipt: EntryAnswer = Field(description="the entry of the audit log")


class MapPointAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    x: float = Field(
        examples=[-3.1], description="without a unit; similar faces are near each other"
    )
    y: float = Field(examples=[8.4])


class MapAnswer(Answer):
    points: list[MapPointAnswer]
    others: int = Field(
        examples=[0], description="templates of other bundles, which the map leaves out"
    )
    method: Literal["t-SNE", "principal components"] = Field(
        examples=["t-SNE"],
        description="how the points were placed; fewer than ten are placed by their principal "
        "components",
    )
    complete: bool = Field(
        description="false if principal components replace t-SNE, because scikit-learn is not "
        "installed: similar faces may be too far apart"
    )
    next: str | None = Field(None, description="pass as `after` to map the subjects that follow")
