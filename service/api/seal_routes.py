"""Template protection over HTTP: move what is stored to the current master key."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from service.edge.guard import By
from service.recognition.service import Running
from service.schemas.answers import Answer

router = APIRouter(tags=["protection"])


class ResealedAnswer(Answer):
    rewrapped: int = Field(description="keys that the current master key wraps now")
    sealed: int = Field(description="subjects that were stored in clear")
    left: int = Field(description="how many of both are left; ask again until there are none")


@router.post("/reseal")
async def reseal(
    service: Running,
    by: By,
    limit: Annotated[int, Query(ge=1, le=10_000, description="most keys or subjects")] = 500,
) -> ResealedAnswer:
    """Wrap keys by the current master key and seal what is stored in clear, some at a time."""
    return ResealedAnswer.model_validate(await service.store.reseal(limit, by))
