"""The audit log over HTTP: what changed, sealed entry by entry."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.recognition.service import Running
from service.schemas.audit_answers import AuditAnswer, EntryAnswer

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("")
async def audit(
    service: Running,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of a page")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditAnswer:
    """List what changed, oldest first, a page at a time."""
    found = await service.store.audit(after, limit)
    return AuditAnswer(
        items=[EntryAnswer.model_validate(entry) for entry in found],
        next=found[-1].number if len(found) == limit else None,
    )
