"""The enrolled subjects over HTTP: list, look, export, delete."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import JsonValue

from service.gallery_answers import (
    DeletedAnswer,
    ExportAnswer,
    SubjectAnswer,
    SubjectsAnswer,
)
from service.guard import By
from service.openapi import links
from service.service import Running

router = APIRouter(prefix="/subjects", tags=["gallery"])
_SAME: dict[str, JsonValue] = {"path.subject": "$request.path.subject"}


@router.get("")
async def subjects(
    service: Running,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SubjectsAnswer:
    """List the subjects in the order of their names, a page at a time."""
    return SubjectsAnswer.model_validate(await service.store.subjects(after, limit))


@router.get("/{subject}")
async def subject(service: Running, subject: str) -> SubjectAnswer:
    """Show a subject and its templates, without their vectors."""
    return SubjectAnswer.model_validate(await service.store.subject(subject))


@router.get("/{subject}/export")
async def export(service: Running, subject: str) -> ExportAnswer:
    """Hand out everything that is stored of a subject, vectors included."""
    return ExportAnswer.model_validate(await service.store.export(subject))


@router.delete("/{subject}", responses={200: links(subject=_SAME, export=_SAME)})
async def delete_subject(service: Running, by: By, subject: str) -> DeletedAnswer:
    """Delete a subject and its templates; when this answers they are gone."""
    return DeletedAnswer.model_validate(await service.store.delete_subject(subject, by))


@router.delete("/{subject}/templates/{template_id}", responses={200: links(subject=_SAME)})
async def delete_template(
    service: Running, by: By, subject: str, template_id: str
) -> DeletedAnswer:
    """Delete one template; with its last template a subject goes too."""
    deleted = await service.store.delete_template(subject, template_id, by)
    return DeletedAnswer.model_validate(deleted)
