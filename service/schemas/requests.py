"""What callers send; the same fields as multipart parts, as JSON and beside a bare photo."""

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
from models.photo import Policy

Scope = Literal["verify", "enroll", "embed", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
BINARY = "binary"
_DATE = re.compile(r"\d{4}-")

# As OpenAPI says it: no slash, no control character, and not one or two dots alone.
_ID_PATTERN = r"^(\.{0,2}[^./\x00-\x1f\x7f-\x9f]|\.{3})[^/\x00-\x1f\x7f-\x9f]*$"
# No pattern can say the rest of what a name is.
_NAME: dict[str, JsonValue] = {"format": "name", "minLength": 1}
SubjectId = Annotated[
    str,
    AfterValidator(as_id),
    Field(
        examples=["ada"],
        description="your name for the person: any text without `/`, but not `.` or `..`, of "
        "what can be seen; stored in Unicode's form NFC",
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
# Of what is stored already: earlier releases took ids that are refused now.
StoredName = Annotated[str, Field(json_schema_extra=_NAME | {"maxLength": 256})]
StoredId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _written(value: object) -> object:
    """Refuse numbers: they would be read as seconds or milliseconds, as it happens."""
    if isinstance(value, str) and _DATE.match(value):
        return value
    raise PydanticCustomError("moment", "Give a time with its zone, such as 2030-01-01T00:00:00Z")


def _whole(value: object) -> object:
    """Take 5.0 for 5, as JSON does, which has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _image_bytes(value: object) -> bytes:
    """Accept bytes as they are and text as base64, bare or as a data URI."""
    match value:
        case bytes():
            return value
        case str():
            return _from_base64(value.strip())
        case _:
            raise PydanticCustomError("image", "An image is a file part, or base64 in a string")


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise PydanticCustomError("image", "A data URI must say ;base64 before its comma")
    try:
        # Strict mode does not count padding after the last group.
        if len(text) % 4 == 0 and not text.endswith("==="):
            return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    raise PydanticCustomError(
        "image",
        "Only the bytes of an image are accepted, as a file part or as base64 (RFC 4648, "
        "padded, no line breaks); URLs and paths are never followed",
    )


ImageBytes = Annotated[
    bytes,
    BeforeValidator(_image_bytes),
    WithJsonSchema({"type": "string", "format": BINARY}),
]


WholeNumber = BeforeValidator(_whole)
Timestamp = Annotated[datetime, BeforeValidator(_written), Field(strict=False)]
MetadataName = Annotated[str, StringConstraints(max_length=128)]
MetadataValue = Annotated[str, StringConstraints(max_length=4096)]
Photo = Annotated[ImageBytes, Field(description="a photo: a file part, or base64 in JSON")]


class Body(BaseModel):
    """Refuse fields that are not known, so that a misspelt one is not ignored.

    Values of JSON keep their types: `"true"` is no boolean there, and `true` no number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _texts(given: tuple[str, ...], absent: tuple[str, ...] = ()) -> dict[str, JsonValue]:
    """Say to OpenAPI that some fields are given and others are not; `image` is a list."""
    properties: dict[str, JsonValue] = {
        name: {"type": "array" if name == "image" else "string"} for name in given
    }
    properties |= {name: {"type": "null"} for name in absent}
    return {"required": list(given), "properties": properties}


_CONSENT = ("consent", "purpose")
_TEMPLATE_OF_MANY: JsonValue = {
    "required": ["template_id"],
    "properties": {"template_id": {"type": "string"}, "image": {"minItems": 2}},
}


class LivenessTokenBody(Body):
    """Take proof that the photos were taken of a living person."""

    liveness_token: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        examples=["eyJhbGciOi..."],
        description="what your liveness check gave for these photos; needed if the service says so",
    )


class EnrollRequest(LivenessTokenBody):
    model_config = ConfigDict(
        json_schema_extra={
            "not": _TEMPLATE_OF_MANY,
            "oneOf": [_texts(_CONSENT), _texts((), _CONSENT)],
        }
    )

    subject: SubjectId
    image: list[Photo] = Field(min_length=1, description="one photo or more of the subject")
    template_id: TemplateId | None = None
    metadata: dict[MetadataName, MetadataValue] | None = Field(
        None, max_length=32, examples=[{"source": "onboarding"}], description="kept as given"
    )
    expires_at: Timestamp | None = Field(
        None,
        examples=["2030-01-01T00:00:00Z"],
        description="a moment ahead; never matched from then on",
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
    accept_quality: bool = Field(
        False, description="enrol a photo that would be refused as `low_quality`, with a warning"
    )
    accept_inconsistent: bool = Field(
        False,
        description="enrol a photo that resembles none of the subject's others, with a warning; a "
        "bundle without operating points cannot tell, and refuses none",
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
        None, description="the photo the template was made of, if the service did not keep it"
    )
    policy: Policy | None = Field(None, description="what to do with several faces")


class NewKeyRequest(Body):
    name: Annotated[str, AfterValidator(partial(as_name, most=128))] = Field(
        examples=["web shop"],
        description="whose",
        json_schema_extra=_NAME | {"maxLength": 128},
    )
    scopes: list[Scope] = Field(min_length=1, description="what it is good for")
    per_s: float | None = Field(
        None, gt=0, le=1e6, description="most requests a second; each photo counts as one"
    )
    at_once: Annotated[int, Field(gt=0, le=10_000), WholeNumber] | None = Field(
        None, description="most requests at a time; each photo counts as one"
    )
    signing: bool = Field(
        False, description="whether it can sign requests as AWS' clients do; takes a master key"
    )


class SwitchRequest(Body):
    fingerprint: str = Field(max_length=128, description="of the bundle that is to serve")
    accept_missing: bool = Field(
        False, description="although it has no template of some; they have to enrol again"
    )


_BOTH_CHOSEN: JsonValue = {
    "required": ["operating_point", "threshold"],
    "properties": {"operating_point": {"type": "string"}, "threshold": {"type": "number"}},
}


class DecisionBody(LivenessTokenBody):
    """Say where the decision should lie."""

    model_config = ConfigDict(json_schema_extra={"not": _BOTH_CHOSEN})

    operating_point: str | None = Field(
        None, max_length=64, examples=["fmr_1e-4"], description="one of those in GET /model"
    )
    threshold: float | None = Field(
        None,
        ge=-2,
        le=1,
        examples=[0.2],
        description="a similarity of your own, without rates and doubts; two identical photos have "
        "one of 0.7 or so. At least the threshold of the laxest operating point in GET /model, "
        "unless the key has the scope `admin`",
    )
    policy: Policy | None = Field(None, description="what to do with several faces")

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
            "oneOf": [_texts(_WITH_SUBJECT, _WITH_TWO), _texts(_WITH_TWO, _WITH_SUBJECT)],
        }
    )

    subject: StoredName | None = Field(
        None, examples=["ada"], description="the person's name, as it was enrolled"
    )
    image: list[Photo] | None = Field(
        None,
        min_length=1,
        description="the photo to verify against the subject, or several of one person, which are "
        "fused: frames of a burst",
    )
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


class IdentifyRequest(DecisionBody):
    image: list[Photo] = Field(
        min_length=1, description="one photo, or several of one person, which are fused"
    )
    limit: Annotated[int, WholeNumber] = Field(
        5, ge=1, le=100, description="the most candidates to return"
    )
