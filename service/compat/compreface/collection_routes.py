"""CompreFace's routes about what is stored: list, show, delete."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from service.api.names import SubjectInPath, subject_named
from service.compat.compreface.access import PREFIX
from service.compat.compreface.answers import (
    DeletedCount,
    Example,
    Examples,
    SubjectName,
    Subjects,
    Updated,
)
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.errors import (
    IMAGE_NOT_FOUND,
    SUBJECT_ALREADY_EXISTS,
    refusal,
)
from service.compat.compreface.requests import ImageIds, Name
from service.edge.body import read_model
from service.edge.guard import By
from service.errors import SubjectNotFound
from service.recognition.service import ServiceDep
from service.schemas.requests import StoredName
from service.store import Photo

router = APIRouter(prefix=f"{PREFIX}/recognition", include_in_schema=False)


async def collection_of(service: ServiceDep) -> FaceCollection:
    """Return what there is of the bundle that decides now."""
    return FaceCollection.of(service.store, await service.active())


Held = Annotated[FaceCollection, Depends(collection_of)]


@router.get("/faces")
async def examples(
    held: Held,
    page: Annotated[int, Query(ge=0, le=10**9)] = 0,
    size: Annotated[int, Query(ge=1, le=1000)] = 20,
    subject: StoredName | None = None,
) -> Examples:
    if subject is not None:
        subject = await subject_named(held.store, subject)
    return await held.page(subject, page, size)


@router.delete("/faces")
async def delete_of_subject(
    held: Held, by: By, subject: Annotated[StoredName, Query()]
) -> DeletedCount:
    """Delete one subject's examples. Without a subject CompreFace deletes everybody's."""
    subject = await subject_named(held.store, subject)
    try:
        deleted = await held.delete_subject(subject, by)
    except SubjectNotFound:
        return DeletedCount(deleted=0)
    return DeletedCount(deleted=deleted.templates)


@router.post("/faces/delete")
async def delete_many(request: Request, held: Held, by: By) -> list[Example]:
    """Delete the examples of a list; ids of none are passed over."""
    wanted = await read_model(request, ImageIds)
    found = await held.find(dict.fromkeys(wanted.root))
    return [example for example in found if await held.delete(example, by)]


@router.delete("/faces/{image_id}")
async def delete_one(held: Held, by: By, image_id: str) -> Example:
    example = await held.one(image_id)
    await held.store.delete_template(example.subject, example.image_id, by)
    return example


@router.get("/faces/{image_id}/img")
async def image(held: Held, image_id: str) -> Response:
    """Give back the photo, if photos are kept."""
    example = await held.one(image_id)
    photo = await held.store.photo(example.subject, example.image_id)
    if not isinstance(photo, Photo):
        return refusal(
            404, IMAGE_NOT_FOUND, "Photos are not kept; LIKENESS_STORE_IMAGES keeps them."
        )
    return Response(photo.photo, media_type="application/octet-stream")


@router.get("/subjects")
@router.get("/subjects/")
async def subjects(held: Held) -> Subjects:
    return Subjects(subjects=await held.subjects())


@router.post("/subjects", status_code=201, response_model=SubjectName)
async def add_subject(request: Request, held: Held) -> SubjectName | JSONResponse:
    """Say that the name is free. There are no subjects without a face: the first one makes them."""
    name = (await read_model(request, Name)).subject
    try:
        await held.store.templates_of(name)
    except SubjectNotFound:
        return SubjectName(subject=name)
    return refusal(400, SUBJECT_ALREADY_EXISTS, "There is a subject of this name.")


@router.put("/subjects/{subject}")
async def rename_subject(request: Request, held: Held, by: By, subject: SubjectInPath) -> Updated:
    """Rename, to a free name. CompreFace makes one subject of two if it is somebody's."""
    await held.rename_subject(subject, (await read_model(request, Name)).subject, by)
    return Updated(updated=True)


@router.delete("/subjects/{subject}")
async def delete_subject(held: Held, by: By, subject: SubjectInPath) -> SubjectName:
    await held.delete_subject(subject, by)
    return SubjectName(subject=subject)


@router.delete("/subjects")
async def delete_all(held: Held, by: By) -> DeletedCount:
    """Delete the subjects that there are when this is asked for, one after the other."""
    deleted = 0
    for name in await held.subjects():
        try:
            deleted += (await held.delete_subject(name, by)).subjects
        except SubjectNotFound:
            continue
    return DeletedCount(deleted=deleted)
