"""Names of earlier releases over HTTP: those that could not be given now."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.recognition.service import Running
from service.schemas.gallery import OddNamesAnswer

router = APIRouter(prefix="/names", tags=["gallery"])


@router.get("")
async def odd_names(
    service: Running,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> OddNamesAnswer:
    """List subjects that keep a name of an earlier release, for somebody to rename them.

    Their names could not be given now, and have no form that is not another subject's.
    """
    return OddNamesAnswer.model_validate(await service.store.odd_names(after, limit))
