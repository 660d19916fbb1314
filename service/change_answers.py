"""What callers get back about a change of bundle."""

from pydantic import Field

from service.answers import Answer


class ChangeAnswer(Answer):
    serving: str = Field(description="fingerprint of the bundle that decides now")
    other: str = Field(description="fingerprint of the other one")
    lacking: int = Field(examples=[120], description="templates that the other one lacks")
    without_photo: int = Field(
        examples=[3], description="of these, templates whose photo the service did not keep"
    )


class LackingTemplate(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    image_sha256: str = Field(description="of the photo's bytes")
    has_photo: bool = Field(description="the service kept the photo")


class LackingAnswer(Answer):
    items: list[LackingTemplate]
    next: int | None = Field(None, description="pass as `after` to get the next page")


class ReembeddedAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    fingerprint: str = Field(description="of the bundle that has a template of the photo now")
    created: bool = Field(description="false if it had one before")
