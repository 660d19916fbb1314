"""The audit log over HTTP: what changed, sealed entry by entry."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.edge.guard import By
from service.recognition.service import ServiceDep
from service.schemas.admin import AuditAnswer, EntryAnswer, ResealedAnswer

router = APIRouter()


@router.get("/audit", tags=["audit"])
async def audit(
    service: ServiceDep,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of a page")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditAnswer:
    """List what changed, oldest first, a page at a time."""
    found = await service.store.audit(after, limit)
    return AuditAnswer(
        items=[EntryAnswer.model_validate(entry) for entry in found],
        next=found[-1].number if len(found) == limit else None,
    )


@router.post("/reseal", tags=["protection"])
async def reseal(
    service: ServiceDep,
    by: By,
    limit: Annotated[int, Query(ge=1, le=10_000, description="most keys or subjects")] = 500,
) -> ResealedAnswer:
    """Wrap keys by the current master key and seal what is stored in clear, some at a time."""
    return ResealedAnswer.model_validate(await service.store.reseal(limit, by))
