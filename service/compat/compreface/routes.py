"""CompreFace's routes: photos, examples and subjects, and vectors.

They are not in the OpenAPI document, because their errors are not problems. CompreFace's own docs
describe what they take and return.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from models.decision import Template
from service.api.names import SubjectInPath, subject_named
from service.api.recognition import read_form
from service.compat.compreface import faces
from service.compat.compreface.access import PREFIX, is_compreface
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.errors import (
    IMAGE_NOT_FOUND,
    SUBJECT_ALREADY_EXISTS,
    refusal,
    translate,
)
from service.compat.compreface.faces import FaceContext
from service.compat.compreface.schemas import (
    ComparedVector,
    ComparedVectors,
    Comparison,
    DeletedCount,
    Detection,
    Example,
    Examples,
    ImageIds,
    NamedVector,
    NamedVectors,
    NewExample,
    NewSubject,
    OnePhoto,
    Options,
    Recognition,
    RenameResult,
    SourceAndTargets,
    SubjectName,
    Subjects,
    TwoPhotos,
    Vectors,
    Verification,
)
from service.compat.translation import ProblemTranslator
from service.edge.body import read_model
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By, MayEmbed
from service.edge.problems import request_id
from service.errors import FieldError, KeyForbidden, SubjectNotFound, invalid_fields
from service.recognition.service import Service, ServiceDep
from service.schemas.requests import StoredName
from service.store import Photo

router = APIRouter(prefix=PREFIX, include_in_schema=False)

M = TypeVar("M", bound=BaseModel)


# Photos


async def read_photos(request: Request, service: Service, model: type[M]) -> M:
    """Read a form with photos; its other fields may be in the query too, as with CompreFace.

    Raises LivenessTokenNeeded if the service needs a liveness token, which CompreFace's clients
    cannot send.
    """
    await _check_liveness(request, service)
    query = {
        name: [value] for name, value in request.query_params.items() if name in model.model_fields
    }
    return await read_form(request, service, model, query)


async def context_of(service: Service, options: Options, may_embed: bool) -> FaceContext:
    """Return what answers a request. Raises KeyForbidden for vectors that the key may not get."""
    if options.wants_vectors and not may_embed:
        raise KeyForbidden("embed", "The plugin `calculator` needs a key with the scope `embed`.")
    if not options.detect_faces:
        reason = "Faces are always detected; LIKENESS_DETECTOR=none takes each photo as a face"
        raise invalid_fields([FieldError("detect_faces", reason)])
    return FaceContext(service, await service.active(), options)


@router.post("/recognition/recognize", response_model_exclude_none=True)
async def recognize(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Recognition:
    """Return the most similar subjects of each face."""
    form = await read_photos(request, service, OnePhoto)
    context = await context_of(service, form, may_embed)
    work = faces.recognize(context, form.file, service.caller())
    return await run_until_disconnect(request, work)


@router.post("/verification/verify", response_model_exclude_none=True)
async def compare(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Comparison:
    """Compare the face of one photo with every face of another."""
    form = await read_photos(request, service, TwoPhotos)
    context = await context_of(service, form, may_embed)
    return await run_until_disconnect(request, faces.compare(context, form, service.caller()))


@router.post("/recognition/faces/{image_id}/verify", response_model_exclude_none=True)
async def verify(
    request: Request, service: ServiceDep, may_embed: MayEmbed, image_id: str
) -> Verification:
    """Compare an example with every face of a photo."""
    form = await read_photos(request, service, OnePhoto)
    context = await context_of(service, form, may_embed)
    work = faces.verify(context, image_id, form.file, service.caller())
    return await run_until_disconnect(request, work)


@router.post("/detection/detect", response_model_exclude_none=True)
async def detect(request: Request, service: ServiceDep, may_embed: MayEmbed) -> Detection:
    """Return where the faces are."""
    form = await read_photos(request, service, OnePhoto)
    context = await context_of(service, form, may_embed)
    return await run_until_disconnect(request, faces.detect(context, form.file, service.caller()))


@router.post("/recognition/faces", status_code=201)
async def add_example(
    request: Request, service: ServiceDep, by: By, may_embed: MayEmbed
) -> Example:
    """Enrol the one face of a photo."""
    form = await read_photos(request, service, NewExample)
    context = await context_of(service, form, may_embed)
    work = faces.add(context, form.subject, form.file, by, service.caller())
    return await run_until_disconnect(request, work)


# Examples and subjects


async def collection_of(service: ServiceDep) -> FaceCollection:
    """Return the examples of the bundle that decides now."""
    return FaceCollection.of(service.store, await service.active())


CollectionDep = Annotated[FaceCollection, Depends(collection_of)]


@router.get("/recognition/faces")
async def list_examples(
    collection: CollectionDep,
    page: Annotated[int, Query(ge=0, le=10**9)] = 0,
    size: Annotated[int, Query(ge=1, le=1000)] = 20,
    subject: StoredName | None = None,
) -> Examples:
    """List the examples of one subject or of all, a page at a time."""
    if subject is not None:
        subject = await subject_named(collection.store, subject)
    return await collection.page(subject, page, size)


@router.delete("/recognition/faces")
async def delete_examples_of(
    collection: CollectionDep, by: By, subject: Annotated[StoredName, Query()]
) -> DeletedCount:
    """Delete one subject's examples. (CompreFace deletes all examples if no subject is named.)"""
    subject = await subject_named(collection.store, subject)
    try:
        deletion = await collection.delete_subject(subject, by)
    except SubjectNotFound:
        return DeletedCount(deleted=0)
    return DeletedCount(deleted=deletion.templates)


@router.post("/recognition/faces/delete")
async def delete_listed(request: Request, collection: CollectionDep, by: By) -> list[Example]:
    """Delete the examples with the ids of a list; skip unknown ids."""
    ids = await read_model(request, ImageIds)
    examples = await collection.find(dict.fromkeys(ids.root))
    return [example for example in examples if await collection.delete(example, by)]


@router.delete("/recognition/faces/{image_id}")
async def delete_example(collection: CollectionDep, by: By, image_id: str) -> Example:
    """Delete one example."""
    example = await collection.example(image_id)
    await collection.store.delete_template(example.subject, example.image_id, by)
    return example


@router.get("/recognition/faces/{image_id}/img")
async def show_photo(collection: CollectionDep, image_id: str) -> Response:
    """Return the photo of an example, if photos are stored."""
    example = await collection.example(image_id)
    photo = await collection.store.photo(example.subject, example.image_id)
    if not isinstance(photo, Photo):
        return refusal(
            404, IMAGE_NOT_FOUND, "Photos are not stored; LIKENESS_STORE_IMAGES stores them."
        )
    return Response(photo.photo, media_type="application/octet-stream")


@router.get("/recognition/subjects")
@router.get("/recognition/subjects/")
async def list_subjects(collection: CollectionDep) -> Subjects:
    """List the names of all subjects."""
    return Subjects(subjects=await collection.subjects())


@router.post("/recognition/subjects", status_code=201, response_model=SubjectName)
async def add_subject(request: Request, collection: CollectionDep) -> SubjectName | JSONResponse:
    """Check that a name is free; nothing is stored, because its first face creates a subject."""
    name = (await read_model(request, NewSubject)).subject
    try:
        await collection.store.templates_of(name)
    except SubjectNotFound:
        return SubjectName(subject=name)
    return refusal(400, SUBJECT_ALREADY_EXISTS, "There is already a subject with this name.")


@router.put("/recognition/subjects/{subject}")
async def rename_subject(
    request: Request, collection: CollectionDep, by: By, subject: SubjectInPath
) -> RenameResult:
    """Rename a subject to a free name. (CompreFace merges two subjects if the name is taken.)"""
    name = (await read_model(request, NewSubject)).subject
    await collection.rename_subject(subject, name, by)
    return RenameResult(updated=True)


@router.delete("/recognition/subjects/{subject}")
async def delete_subject(collection: CollectionDep, by: By, subject: SubjectInPath) -> SubjectName:
    """Delete one subject."""
    await collection.delete_subject(subject, by)
    return SubjectName(subject=subject)


@router.delete("/recognition/subjects")
async def delete_subjects(collection: CollectionDep, by: By) -> DeletedCount:
    """Delete all subjects, one after the other; subjects that are added meanwhile stay."""
    count = 0
    for name in await collection.subjects():
        try:
            count += (await collection.delete_subject(name, by)).subjects
        except SubjectNotFound:
            continue
    return DeletedCount(deleted=count)


# Vectors, such as the plugin `calculator` returns. A vector does not tell which bundle made it:
# it is taken as one of the bundle that decides now. After a change of bundle older vectors are
# useless, as they are in CompreFace after a change of model.


async def read_vectors(request: Request, service: Service, model: type[M]) -> M:
    """Read vectors. Raises LivenessTokenNeeded if the service needs a liveness token."""
    await _check_liveness(request, service)
    return await read_model(request, model)


@router.post("/recognition/embeddings/recognize")
async def recognize_vectors(
    request: Request, service: ServiceDep, options: Annotated[Options, Query()]
) -> NamedVectors:
    """Return the most similar subjects of each vector."""
    context = FaceContext(service, await service.active(), options)
    form = await read_vectors(request, service, Vectors)
    return NamedVectors(
        result=[
            NamedVector(embedding=vector, similarities=await faces.predict(context, template))
            for vector, template in _templates(context, form.embeddings)
        ]
    )


@router.post("/recognition/embeddings/faces/{image_id}/verify")
async def verify_vectors(request: Request, service: ServiceDep, image_id: str) -> ComparedVectors:
    """Compare an example with vectors."""
    context = FaceContext(service, await service.active(), Options())
    form = await read_vectors(request, service, Vectors)
    collection = FaceCollection.of(context.service.store, context.active)
    source = await collection.template(await collection.example(image_id))
    return _compare(context, source, form.embeddings)


@router.post("/verification/embeddings/verify")
async def compare_vectors(request: Request, service: ServiceDep) -> ComparedVectors:
    """Compare one vector with others."""
    context = FaceContext(service, await service.active(), Options())
    form = await read_vectors(request, service, SourceAndTargets)
    ((_, source),) = _templates(context, [form.source])
    return _compare(context, source, form.targets)


def _compare(
    context: FaceContext, source: Template, vectors: Sequence[list[float]]
) -> ComparedVectors:
    result = [
        ComparedVector(embedding=vector, similarity=context.compare(source, template))
        for vector, template in _templates(context, vectors)
    ]
    return ComparedVectors(result=sorted(result, key=lambda each: -each.similarity))


def _templates(
    context: FaceContext, vectors: Sequence[list[float]]
) -> Iterator[tuple[list[float], Template]]:
    """Yield each vector with its template, whatever the norm of the vector is."""
    bundle, limit = context.active.bundle, context.service.settings.max_images
    if len(vectors) > limit:
        message = f"Holds {len(vectors)} vectors, at most {limit}"
        raise invalid_fields([FieldError("body", message)])
    for vector in vectors:
        numbers = np.asarray(vector, np.float64)
        largest = float(np.abs(numbers).max(initial=0.0))
        if len(vector) != bundle.dimension or not 0 < largest < math.inf:
            message = f"A vector has {bundle.dimension} finite numbers here, not all of them 0"
            raise invalid_fields([FieldError("body", message)])
        # Divided by the largest number first: the squares of large numbers are infinite.
        unit = numbers / largest / np.linalg.norm(numbers / largest)
        yield vector, bundle.template(unit.astype(np.float32))


async def _check_liveness(request: Request, service: Service) -> None:
    await service.liveness.check(None, (), request.url.path, request_id(request.scope))


def install_compreface(app: FastAPI) -> None:
    """Add the routes, and translate their problems; add no middleware but HeadAsGet after this."""
    app.include_router(router)
    app.add_middleware(ProblemTranslator, is_theirs=is_compreface, translate=translate)
