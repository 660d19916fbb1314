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
from service.compat.rekognition.held import erase_face, find_face, from_metadata
from service.compat.rekognition.requests import (
    CreateCollection,
    DeleteCollection,
    DeleteFaces,
    DescribeCollection,
    ListCollections,
    ListFaces,
)
from service.compat.rekognition.tokens import read_token, write_token

_COLLECTIONS = "collections"


async def create(asked: Asked, form: CreateCollection) -> CollectionCreated:
    await asked.service.store.create_collection(form.collection_id, asked.by)
    return CollectionCreated(
        status_code=200,
        collection_arn=_arn(form.collection_id),
        face_model_version=asked.face_model_version,
    )


async def every(asked: Asked, form: ListCollections) -> Collections:
    after = read_token(_COLLECTIONS, form.next_token)
    page = await asked.service.store.collections(after, form.max_results)
    return Collections(
        collection_ids=[each.name for each in page.items],
        face_model_versions=[asked.face_model_version] * len(page.items),
        next_token=write_token(_COLLECTIONS, page.next),
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
    listing, following = f"faces of {name}", None
    after = read_token(listing, form.next_token)
    if form.face_ids is None:
        page = await store.subjects(after, form.max_results, name)
        held = [from_metadata(each.metadata) for each in page.items]
        following = write_token(listing, page.next)
    else:
        found = [await find_face(store, name, face_id) for face_id in form.face_ids]
        held = [each.face for each in found if each is not None]
    return Faces(faces=held, next_token=following, face_model_version=asked.face_model_version)


async def delete_faces(asked: Asked, form: DeleteFaces) -> FacesDeleted:
    """Erase faces; each has its receipt in the audit log."""
    store = asked.service.store
    await store.collection(form.collection_id)
    deleted, missing = [], []
    for face_id in form.face_ids:
        if await erase_face(store, form.collection_id, face_id, asked.by):
            deleted.append(face_id)
        else:
            missing.append(NotDeleted(face_id=face_id, reasons=["FACE_NOT_FOUND"]))
    return FacesDeleted(deleted_faces=deleted, unsuccessful_face_deletions=missing)


def _arn(name: str) -> str:
    return f"arn:likeness:rekognition:::collection/{name}"
