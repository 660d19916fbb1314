"""The enrolled subjects over HTTP: list, show, export, rename, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import JsonValue

from service.api.names import SubjectInPath, subject_named
from service.api.openapi import json_body, links
from service.api.store import AfterName, PageLimit, StoreDep
from service.edge.body import read_model
from service.edge.guard import By
from service.schemas.gallery import (
    DeletedAnswer,
    ExportAnswer,
    RenamedAnswer,
    SubjectAnswer,
    SubjectsAnswer,
)
from service.schemas.requests import RenameRequest, StoredId, StoredName

router = APIRouter(tags=["gallery"])
_SAME: dict[str, JsonValue] = {"path.subject": "$request.path.subject"}
_RENAMED: dict[str, JsonValue] = {"path.subject": "$response.body#/subject"}


@router.get("/subjects")
async def subjects(
    store: StoreDep, after: AfterName = None, limit: PageLimit = 100
) -> SubjectsAnswer:
    """List the subjects in the order of their names, one page at a time."""
    return SubjectsAnswer.model_validate(await store.subjects(after, limit))


@router.delete("/subjects")
async def delete_by_name(
    store: StoreDep,
    by: By,
    subject: Annotated[StoredName, Query(description="its name; any characters")],
) -> DeletedAnswer:
    """Delete a subject whose name may be one that no path can contain.

    It does the same as `DELETE /subjects/{subject}`. Earlier releases accepted `.` and `..` as
    names.
    """
    subject = await subject_named(store, subject)
    return await delete_subject(store, by, subject)


@router.get("/subjects/{subject}")
async def subject(store: StoreDep, subject: SubjectInPath) -> SubjectAnswer:
    """Show a subject and its templates, without the vectors."""
    return SubjectAnswer.model_validate(await store.subject(subject))


@router.get("/subjects/{subject}/export")
async def export(store: StoreDep, subject: SubjectInPath) -> ExportAnswer:
    """Return everything that is stored about a subject, vectors included."""
    return ExportAnswer.model_validate(await store.export(subject))


@router.post(
    "/subjects/{subject}/rename",
    responses={200: links(subject=_RENAMED, delete_subject=_RENAMED)},
    openapi_extra=json_body(RenameRequest),
)
async def rename(
    request: Request, store: StoreDep, by: By, subject: SubjectInPath
) -> RenamedAnswer:
    """Rename a subject; templates, terms and expiry stay. The new name must not be in use."""
    form = await read_model(request, RenameRequest)
    receipt = await store.rename_subject(subject, form.to, by)
    return RenamedAnswer.model_validate({"subject": form.to, "receipt": receipt})


@router.delete("/subjects/{subject}", responses={200: links(subject=_SAME, export=_SAME)})
async def delete_subject(store: StoreDep, by: By, subject: SubjectInPath) -> DeletedAnswer:
    """Delete a subject and its templates; they are gone when this answers."""
    return DeletedAnswer.model_validate(await store.delete_subject(subject, by))


@router.delete("/subjects/{subject}/templates", responses={200: links(subject=_SAME)})
async def delete_template_by_id(
    store: StoreDep,
    by: By,
    subject: SubjectInPath,
    template_id: Annotated[StoredId, Query(description="its id; any characters")],
) -> DeletedAnswer:
    """Delete one template whose id may be one that no path can contain."""
    return await delete_template(store, by, subject, template_id)


@router.delete("/subjects/{subject}/templates/{template_id}", responses={200: links(subject=_SAME)})
async def delete_template(
    store: StoreDep, by: By, subject: SubjectInPath, template_id: str
) -> DeletedAnswer:
    """Delete one template; a subject is deleted with its last template."""
    deleted = await store.delete_template(subject, template_id, by)
    return DeletedAnswer.model_validate(deleted)
