"""What callers get back to draw the gallery by."""

from pydantic import Field

from service.schemas.answers import Answer


class MapPointAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    x: float = Field(examples=[-3.1], description="without a unit: near is similar")
    y: float = Field(examples=[8.4])


class MapAnswer(Answer):
    points: list[MapPointAnswer]
    others: int = Field(examples=[0], description="templates of other bundles, which are not on it")
    complete: bool = Field(
        description="false if time ran out first: neighbourhoods may be drawn too wide"
    )
    next: str | None = Field(None, description="pass as `after` to map the subjects that follow")
