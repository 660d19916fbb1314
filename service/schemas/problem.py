"""The answer to a request that failed."""

from pydantic import BaseModel, Field


class FieldProblem(BaseModel):
    """Name one wrong field."""

    field: str = Field(description="Name of the field.", examples=["threshold"])
    message: str = Field(
        description="What is wrong with it; never its value.",
        examples=["Input should be less than or equal to 1"],
    )


class Problem(BaseModel):
    """Describe why a request failed (RFC 9457)."""

    @property
    def photos(self) -> list[str]:
        """Return the fields of the photos at fault; empty if the request itself is wrong."""
        errors = () if self.code == "invalid_request" else self.errors or ()
        return [error.field for error in errors]

    @property
    def sentence(self) -> str:
        """Return what went wrong, after the names of the photos at fault."""
        return ": ".join(filter(None, (", ".join(self.photos), self.detail)))

    type: str = Field(
        description="Stable identifier of the kind of problem.",
        examples=["urn:likeness:problem:no_face"],
    )
    title: str = Field(description="The kind of problem in words.", examples=["No face"])
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What went wrong with this request.",
        examples=["No face was found in the image, upright or turned."],
    )
    code: str = Field(description="Stable code to program against.", examples=["no_face"])
    advice: str | None = Field(
        default=None,
        description="What the person in the photo, or the caller, can do.",
        examples=["Face the camera, in even light, with nothing covering the face."],
    )
    request_id: str | None = Field(
        default=None,
        description="Finds the request in the log; equal to the header `x-request-id`.",
        examples=["5f0c1d9e0b7a4b1d8f3e2a6c7d8e9f00"],
    )
    errors: list[FieldProblem] | None = Field(
        default=None,
        description="The wrong fields of an `invalid_request`, or the fields of the photos at "
        "fault; `image.1` is the second image of a list.",
    )
