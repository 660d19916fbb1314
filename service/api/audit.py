"""The audit log over HTTP, and the sealing of stored data."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.store import AfterNumber, PageLimit, StoreDep
from service.edge.guard import By
from service.schemas.admin import AuditAnswer, EntryAnswer, ResealedAnswer

router = APIRouter()


@router.get("/audit", tags=["audit"])
async def audit(store: StoreDep, after: AfterNumber = 0, limit: PageLimit = 100) -> AuditAnswer:
    """List the changes to the gallery and its keys, oldest first, one page at a time."""
    entries = await store.audit(after, limit)
    return AuditAnswer(
        items=[EntryAnswer.model_validate(entry) for entry in entries],
        next=entries[-1].number if len(entries) == limit else None,
    )


@router.post("/reseal", tags=["protection"])
async def reseal(
    store: StoreDep,
    by: By,
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="most keys or subjects to process")
    ] = 500,
) -> ResealedAnswer:
    """Wrap keys with the current master key, and encrypt subjects that are stored in clear.

    One request processes at most `limit` of them.
    """
    return ResealedAnswer.model_validate(await store.reseal(limit, by))
