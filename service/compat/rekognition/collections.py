"""The operations on collections and on what is in them."""

from service.compat.rekognition.answers import (
    CollectionCreated,
    CollectionDeleted,
    CollectionDescribed,
    Collections,
    Faces,
    FacesDeleted,
    NotDeleted,
)
from service.compat.rekognition.asked import Asked
from service.compat.rekognition.held import find_face, from_metadata
from service.compat.rekognition.requests import (
    CreateCollection,
    DeleteCollection,
    DeleteFaces,
    DescribeCollection,
    ListCollections,
    ListFaces,
)
from service.errors import SubjectNotFound


async def create(asked: Asked, form: CreateCollection) -> CollectionCreated:
    await asked.service.store.create_collection(form.collection_id, asked.by)
    return CollectionCreated(
        status_code=200,
        collection_arn=_arn(form.collection_id),
        face_model_version=asked.face_model_version,
    )


async def every(asked: Asked, form: ListCollections) -> Collections:
    page = await asked.service.store.collections(form.next_token, form.max_results)
    return Collections(
        collection_ids=[each.name for each in page.items],
        face_model_versions=[asked.face_model_version] * len(page.items),
        next_token=page.next,
    )


async def describe(asked: Asked, form: DescribeCollection) -> CollectionDescribed:
    found = await asked.service.store.collection(form.collection_id)
    return CollectionDescribed(
        face_count=found.counts.subjects,
        face_model_version=asked.face_model_version,
        collection_arn=_arn(found.name),
        creation_timestamp=found.created_at.timestamp(),
    )


async def delete(asked: Asked, form: DeleteCollection) -> CollectionDeleted:
    """Erase a collection with its faces; the receipt is in the audit log."""
    await asked.service.store.delete_collection(form.collection_id, asked.by)
    return CollectionDeleted(status_code=200)


async def faces(asked: Asked, form: ListFaces) -> Faces:
    """List faces by their ids, or those that are named."""
    store, name = asked.service.store, form.collection_id
    await store.collection(name)
    after = None
    if form.face_ids is None:
        page = await store.subjects(form.next_token, form.max_results, name)
        held, after = [from_metadata(each.metadata) for each in page.items], page.next
    else:
        found = [await find_face(store, name, face_id) for face_id in form.face_ids]
        held = [face for face in found if face is not None]
    return Faces(faces=held, next_token=after, face_model_version=asked.face_model_version)


async def delete_faces(asked: Asked, form: DeleteFaces) -> FacesDeleted:
    """Erase faces; each has its receipt in the audit log."""
    store = asked.service.store
    await store.collection(form.collection_id)
    deleted, missing = [], []
    for face_id in form.face_ids:
        try:
            if await find_face(store, form.collection_id, face_id) is None:
                raise SubjectNotFound("The collection has no such face.")
            await store.delete_subject(face_id, asked.by)
        except SubjectNotFound:
            missing.append(NotDeleted(face_id=face_id, reasons=["FACE_NOT_FOUND"]))
        else:
            deleted.append(face_id)
    return FacesDeleted(deleted_faces=deleted, unsuccessful_face_deletions=missing)


def _arn(name: str) -> str:
    return f"arn:likeness:rekognition:::collection/{name}"
