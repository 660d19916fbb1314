"""The requests; the same fields come as multipart parts, as JSON, or beside a bare photo."""

import binascii
import re
from datetime import datetime
from functools import partial
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.datasets.names import as_id, as_name
from models.photo import FacePolicy

Scope = Literal["verify", "enroll", "embed", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
BINARY = "binary"
_DATE = re.compile(r"\d{4}-")

# For OpenAPI: no slash, no control character, and not one or two dots alone.
_ID_PATTERN = r"^(\.{0,2}[^./\x00-\x1f\x7f-\x9f]|\.{3})[^/\x00-\x1f\x7f-\x9f]*$"
# The rules that no pattern can state are called the format `name`.
_NAME: dict[str, JsonValue] = {"format": "name", "minLength": 1}
SubjectId = Annotated[
    str,
    AfterValidator(as_id),
    Field(
        examples=["ada"],
        description="your name for the person: any visible text without `/`, but not `.` or `..`; "
        "stored in Unicode's form NFC",
        json_schema_extra=_NAME | {"maxLength": 256, "pattern": _ID_PATTERN},
    ),
]
TemplateId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$"),
    AfterValidator(as_id),
    Field(
        examples=["passport-2026"],
        description="your name for the template",
        json_schema_extra={"pattern": r"^(\.{0,2}[A-Za-z0-9_:-]|\.{3})[A-Za-z0-9._:-]*$"},
    ),
]
# For stored subjects and templates: earlier releases accepted ids that are refused now.
StoredName = Annotated[str, Field(json_schema_extra=_NAME | {"maxLength": 256})]
StoredId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _written_date(value: object) -> object:
    """Refuse numbers, which could mean seconds or milliseconds."""
    if isinstance(value, str) and _DATE.match(value):
        return value
    raise PydanticCustomError("moment", "Give a time with its zone, such as 2030-01-01T00:00:00Z")


def _whole(value: object) -> object:
    """Return 5 for 5.0: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _image_bytes(value: object) -> bytes:
    """Return bytes as they are; decode text as base64 or as a data URI."""
    match value:
        case bytes():
            return value
        case str():
            return _from_base64(value.strip())
        case _:
            raise PydanticCustomError(
                "image", "Send an image as a file part, or as base64 in a string"
            )


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise PydanticCustomError("image", "A data URI must say ;base64 before its comma")
    try:
        # Strict mode accepts too much padding after the last group.
        if len(text) % 4 == 0 and not text.endswith("==="):
            return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    raise PydanticCustomError(
        "image",
        "Send the bytes of the image, as a file part or as base64 (RFC 4648, padded, no line "
        "breaks); URLs and paths are not accepted",
    )


ImageBytes = Annotated[
    bytes,
    BeforeValidator(_image_bytes),
    WithJsonSchema({"type": "string", "format": BINARY}),
]


WholeNumber = BeforeValidator(_whole)
Timestamp = Annotated[datetime, BeforeValidator(_written_date), Field(strict=False)]
MetadataName = Annotated[str, StringConstraints(max_length=128)]
MetadataValue = Annotated[str, StringConstraints(max_length=4096)]
Photo = Annotated[ImageBytes, Field(description="a photo: a file part, or base64 in JSON")]


class Body(BaseModel):
    """Refuse unknown fields, so that a misspelt field is not ignored.

    JSON values keep their types: `"true"` is not a boolean, and `true` is not a number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _fields(present: tuple[str, ...], absent: tuple[str, ...] = ()) -> dict[str, JsonValue]:
    """Return the JSON schema of requests with some fields present and others absent."""
    properties: dict[str, JsonValue] = {
        name: {"type": "array" if name == "image" else "string"} for name in present
    }
    properties |= {name: {"type": "null"} for name in absent}
    return {"required": list(present), "properties": properties}


_CONSENT = ("consent", "purpose")
_TEMPLATE_OF_MANY: JsonValue = {
    "required": ["template_id"],
    "properties": {"template_id": {"type": "string"}, "image": {"minItems": 2}},
}


class LivenessTokenBody(Body):
    """Accept a token that proves that the photos show a living person."""

    liveness_token: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        examples=["eyJhbGciOi..."],
        description="the token of your liveness check for these photos; required if the service "
        "says so",
    )


class EnrollRequest(LivenessTokenBody):
    model_config = ConfigDict(
        json_schema_extra={
            "not": _TEMPLATE_OF_MANY,
            "oneOf": [_fields(_CONSENT), _fields((), _CONSENT)],
        }
    )

    subject: SubjectId
    image: list[Photo] = Field(min_length=1, description="one or more photos of the subject")
    template_id: TemplateId | None = None
    metadata: dict[MetadataName, MetadataValue] | None = Field(
        None, max_length=32, examples=[{"source": "onboarding"}], description="kept as given"
    )
    expires_at: Timestamp | None = Field(
        None,
        examples=["2030-01-01T00:00:00Z"],
        description="a time in the future; the templates are never matched from then on",
    )
    consent: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        examples=["form 12, signed 2026-11-23"],
        description="the ground for storing the subject, kept as given; needs `purpose`",
    )
    purpose: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        examples=["staff entrance"],
        description="the purpose of storing it",
    )
    policy: FacePolicy | None = Field(None, description="what to do if a photo shows several faces")
    accept_quality: bool = Field(
        False, description="enrol a `low_quality` photo with a warning instead of refusing it"
    )
    accept_inconsistent: bool = Field(
        False,
        description="enrol a photo that resembles no other photo of the subject with a warning "
        "instead of refusing it; a bundle without operating points never refuses such a photo",
    )

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


class RenameRequest(Body):
    to: SubjectId


class ReembedRequest(Body):
    subject: StoredName = Field(examples=["ada"])
    template_id: StoredId = Field(examples=["passport-2026"])
    image: Photo | None = Field(
        None, description="the photo that the template was made of, if the service did not keep it"
    )
    policy: FacePolicy | None = Field(None, description="what to do if a photo shows several faces")


class NewKeyRequest(Body):
    name: Annotated[str, AfterValidator(partial(as_name, most=128))] = Field(
        examples=["web shop"],
        description="the owner of the key",
        json_schema_extra=_NAME | {"maxLength": 128},
    )
    scopes: list[Scope] = Field(min_length=1, description="what requests with the key may do")
    per_s: float | None = Field(
        None, gt=0, le=1e6, description="most requests a second; each photo counts as one"
    )
    at_once: Annotated[int, Field(gt=0, le=10_000), WholeNumber] | None = Field(
        None, description="most requests at a time; each photo counts as one"
    )
    signing: bool = Field(
        False, description="let the key sign requests as AWS' clients do; needs a master key"
    )


class SwitchRequest(Body):
    fingerprint: str = Field(max_length=128, description="fingerprint of the bundle")
    accept_missing: bool = Field(
        False,
        description="accept that the bundle that stays lacks templates; their subjects have to "
        "enrol again",
    )


_BOTH_CHOSEN: JsonValue = {
    "required": ["operating_point", "threshold"],
    "properties": {"operating_point": {"type": "string"}, "threshold": {"type": "number"}},
}


class DecisionBody(LivenessTokenBody):
    """Choose the operating point or the threshold of a decision."""

    model_config = ConfigDict(json_schema_extra={"not": _BOTH_CHOSEN})

    operating_point: str | None = Field(
        None, max_length=64, examples=["fmr_1e-4"], description="an operating point of `GET /model`"
    )
    threshold: float | None = Field(
        None,
        ge=-2,
        le=1,
        examples=[0.2],
        description="a threshold of your own, without error rates and doubts; two identical photos "
        "have a similarity of about 0.7. It must not be below the threshold of the laxest "
        "operating point of `GET /model`, unless the key has the scopes `verify` and `admin`",
    )
    policy: FacePolicy | None = Field(None, description="what to do if a photo shows several faces")

    @model_validator(mode="after")
    def one_way_to_decide(self) -> Self:
        if self.operating_point is not None and self.threshold is not None:
            raise ValueError("send operating_point or threshold, not both")
        return self


_WITH_SUBJECT, _WITH_TWO = ("image", "subject"), ("source_image", "target_image")


class VerifyRequest(DecisionBody):
    model_config = ConfigDict(
        json_schema_extra={
            "not": _BOTH_CHOSEN,
            "oneOf": [_fields(_WITH_SUBJECT, _WITH_TWO), _fields(_WITH_TWO, _WITH_SUBJECT)],
        }
    )

    subject: StoredName | None = Field(
        None, examples=["ada"], description="the person's name, as it was enrolled"
    )
    image: list[Photo] | None = Field(
        None,
        min_length=1,
        description="the photo to verify against the subject, or several photos of one person, "
        "such as frames of a burst, which are fused",
    )
    source_image: Photo | None = Field(
        None,
        validation_alias=AliasChoices("source_image", "img1"),
        description="the first of two photos to compare, instead of `image` and `subject`",
    )
    target_image: Photo | None = Field(
        None,
        validation_alias=AliasChoices("target_image", "img2"),
        description="the second of two photos to compare",
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
    image: list[Photo] = Field(min_length=1, description="one or more photos")
    output: Literal["vector", "features"] = Field(
        "vector", description="the vector of unit length, or the encoder's pooled features"
    )
    policy: FacePolicy | None = Field(None, description="what to do if a photo shows several faces")


class IdentifyRequest(DecisionBody):
    image: list[Photo] = Field(
        min_length=1, description="one photo, or several photos of one person, which are fused"
    )
    limit: Annotated[int, WholeNumber] = Field(
        5, ge=1, le=100, description="the most candidates to return"
    )
