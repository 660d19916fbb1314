"""The enrolled subjects over HTTP: list, look, export, rename, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import JsonValue

from models.evaluation.layout import MOST_VECTORS
from service.api.names import SubjectInPath, subject_named
from service.api.openapi import json_body, links
from service.edge.body import read_model
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By
from service.errors import TooManyRequests
from service.recognition.map import draw_map
from service.recognition.service import ServiceDep
from service.schemas.gallery import (
    DeletedAnswer,
    ExportAnswer,
    MapAnswer,
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
    service: ServiceDep,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SubjectsAnswer:
    """List the subjects in the order of their names, a page at a time."""
    return SubjectsAnswer.model_validate(await service.store.subjects(after, limit))


@router.delete("/subjects")
async def delete_by_name(
    service: ServiceDep,
    by: By,
    subject: Annotated[StoredName, Query(description="its name, whatever it is")],
) -> DeletedAnswer:
    """Delete a subject as `DELETE /subjects/{subject}` does, also one that no path can name.

    Earlier releases took `.` and `..` for names.
    """
    subject = await subject_named(service.store, subject)
    return await delete_subject(service, by, subject)


@router.get("/subjects/{subject}")
async def subject(service: ServiceDep, subject: SubjectInPath) -> SubjectAnswer:
    """Show a subject and its templates, without their vectors."""
    return SubjectAnswer.model_validate(await service.store.subject(subject))


@router.get("/subjects/{subject}/export")
async def export(service: ServiceDep, subject: SubjectInPath) -> ExportAnswer:
    """Hand out everything that is stored of a subject, vectors included."""
    return ExportAnswer.model_validate(await service.store.export(subject))


@router.post(
    "/subjects/{subject}/rename",
    responses={200: links(subject=_RENAMED, delete_subject=_RENAMED)},
    openapi_extra=json_body(RenameRequest),
)
async def rename(
    request: Request, service: ServiceDep, by: By, subject: SubjectInPath
) -> RenamedAnswer:
    """Give a subject a name that nobody has; templates, terms and expiry stay."""
    form = await read_model(request, RenameRequest)
    receipt = await service.store.rename_subject(subject, form.to, by)
    return RenamedAnswer.model_validate({"subject": form.to, "receipt": receipt})


@router.delete("/subjects/{subject}", responses={200: links(subject=_SAME, export=_SAME)})
async def delete_subject(service: ServiceDep, by: By, subject: SubjectInPath) -> DeletedAnswer:
    """Delete a subject and its templates; when this answers they are gone."""
    return DeletedAnswer.model_validate(await service.store.delete_subject(subject, by))


@router.delete("/subjects/{subject}/templates", responses={200: links(subject=_SAME)})
async def delete_template_by_id(
    service: ServiceDep,
    by: By,
    subject: SubjectInPath,
    template_id: Annotated[StoredId, Query(description="its id, whatever it is")],
) -> DeletedAnswer:
    """Delete one template, also one whose id no path can carry."""
    return await delete_template(service, by, subject, template_id)


@router.delete("/subjects/{subject}/templates/{template_id}", responses={200: links(subject=_SAME)})
async def delete_template(
    service: ServiceDep, by: By, subject: SubjectInPath, template_id: str
) -> DeletedAnswer:
    """Delete one template; with its last template a subject goes too."""
    deleted = await service.store.delete_template(subject, template_id, by)
    return DeletedAnswer.model_validate(deleted)


@router.get("/map")
async def gallery_map(
    request: Request,
    service: ServiceDep,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a map")] = None,
    limit: Annotated[
        int, Query(ge=4, le=MOST_VECTORS, description="most templates")
    ] = MOST_VECTORS,
) -> MapAnswer:
    """Lay out templates so that like ones lie together (t-SNE), in the order of subjects' names.

    One map is drawn at a time: it takes a core for seconds. `likeness map` draws thousands.
    """
    drawing = request.app.state.map_drawing
    if drawing.locked():
        raise TooManyRequests("Another map is being drawn.")
    async with drawing:
        return await run_until_disconnect(request, draw_map(service, after, limit))
