"""What callers send; the same fields as multipart parts, as JSON and beside a bare photo."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models.face import Policy
from service.body import ImageBytes
from service.keys import Scope

SubjectId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f/]+$"),
    Field(examples=["ada"], description="your name for the person: any text without `/`"),
]
TemplateId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$"),
    Field(examples=["passport-2026"], description="your name for the template"),
]
Photo = Annotated[ImageBytes, Field(description="a photo: a file part, or base64 in JSON")]


class Body(BaseModel):
    """Refuse fields that are not known, so that a misspelt one is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnrollRequest(Body):
    subject: SubjectId
    image: list[Photo] = Field(min_length=1, description="one photo or more of the subject")
    template_id: TemplateId | None = None
    metadata: dict[str, str] | None = Field(
        None, max_length=32, examples=[{"source": "onboarding"}], description="kept as given"
    )
    expires_at: datetime | None = Field(
        None, examples=["2030-01-01T00:00:00Z"], description="never matched from then on"
    )
    consent: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        examples=["form 12, signed 2026-11-23"],
        description="the ground for storing the subject, kept as given; `purpose` goes with it",
    )
    purpose: str | None = Field(
        None, min_length=1, max_length=512, examples=["staff entrance"], description="what for"
    )
    policy: Policy | None = Field(None, description="what to do with several faces")

    @model_validator(mode="after")
    def one_id_names_one_template(self) -> Self:
        if self.template_id is not None and len(self.image) > 1:
            raise ValueError("template_id names one template; send one image with it")
        return self

    @model_validator(mode="after")
    def consent_is_for_a_purpose(self) -> Self:
        if (self.consent is None) != (self.purpose is None):
            raise ValueError("send consent and purpose together, or neither")
        return self


class ReembedRequest(Body):
    subject: SubjectId
    template_id: TemplateId
    image: Photo | None = Field(
        None, description="the photo the template was made of, if the service did not keep it"
    )
    policy: Policy | None = Field(None, description="what to do with several faces")


class NewKeyRequest(Body):
    name: str = Field(min_length=1, max_length=128, examples=["web shop"], description="whose")
    scopes: list[Scope] = Field(min_length=1, description="what it is good for")
    per_s: float | None = Field(None, gt=0, le=1e6, description="most requests a second")
    at_once: int | None = Field(None, gt=0, le=10_000, description="most requests at a time")


class SwitchRequest(Body):
    fingerprint: str = Field(description="of the bundle that is to serve")
    accept_missing: bool = Field(
        False, description="although it has no template of some; they have to enrol again"
    )


class Choice(Body):
    """Say where the decision should lie."""

    operating_point: str | None = Field(
        None, examples=["fmr_1e-3"], description="one of those in GET /model"
    )
    threshold: float | None = Field(
        None, ge=-1, le=1, examples=[0.92], description="a similarity of your own, without rates"
    )
    policy: Policy | None = Field(None, description="what to do with several faces")

    @model_validator(mode="after")
    def one_way_to_decide(self) -> Self:
        if self.operating_point is not None and self.threshold is not None:
            raise ValueError("send operating_point or threshold, not both")
        return self


class VerifyRequest(Choice):
    subject: SubjectId | None = None
    image: Photo | None = Field(None, description="the photo to verify against the subject")
    source_image: Photo | None = Field(
        None, validation_alias=AliasChoices("source_image", "img1"), description="or the first"
    )
    target_image: Photo | None = Field(
        None, validation_alias=AliasChoices("target_image", "img2"), description="and the second"
    )

    @model_validator(mode="after")
    def one_question(self) -> Self:
        with_subject = self.image is not None and self.subject is not None
        with_two = self.source_image is not None and self.target_image is not None
        sent = sum(
            field is not None
            for field in (self.subject, self.image, self.source_image, self.target_image)
        )
        if sent != 2 or not (with_subject or with_two):
            raise ValueError("send image and subject, or source_image and target_image")
        return self


class EmbedRequest(Body):
    image: list[Photo] = Field(min_length=1, description="one photo or more")
    output: Literal["vector", "features"] = Field(
        "vector", description="the face vector of unit length, or the encoder's pooled features"
    )
    policy: Policy | None = Field(None, description="what to do with several faces")


class IdentifyRequest(Choice):
    image: Photo
    limit: int = Field(5, ge=1, le=100, description="the most candidates to return")
