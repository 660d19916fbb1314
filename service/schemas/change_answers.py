"""What callers get back about a change of bundle."""

from pydantic import Field

from models.decision import Outcome
from service.schemas.answers import Answer, RateAnswer


class BothDecided(Answer):
    live: Outcome
    candidate: Outcome
    requests: int = Field(examples=[812])


class ShadowAnswer(Answer):
    compared: int = Field(
        examples=[1204],
        description="requests that both bundles decided, since this replica's start",
    )
    decisions: list[BothDecided] = Field(description="how often each pair of decisions occurred")
    disagreement: RateAnswer | None = Field(
        description="share that they decided differently; none before the first"
    )
    dropped: dict[str, int] = Field(
        examples=[{"no_template": 3}], description="requests left out, by reason"
    )


class ChangeAnswer(Answer):
    serving: str = Field(description="fingerprint of the bundle that decides now")
    other: str = Field(description="fingerprint of the other one")
    lacking: int = Field(examples=[120], description="templates that the other one lacks")
    without_photo: int = Field(
        examples=[3], description="of these, templates whose photo the service did not keep"
    )
    shadow: ShadowAnswer | None = Field(
        None, description="what the other one would have decided; none if LIKENESS_SHADOW is 0"
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
