"""The operations on collections."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from service.compat.rekognition.faces import (
    OperationContext,
    erase_face,
    find_face,
    from_metadata,
)
from service.compat.rekognition.schemas import (
    CreateCollectionRequest,
    CreateCollectionResponse,
    DeleteCollectionRequest,
    DeleteCollectionResponse,
    DeleteFacesRequest,
    DeleteFacesResponse,
    DescribeCollectionRequest,
    DescribeCollectionResponse,
    ListCollectionsRequest,
    ListCollectionsResponse,
    ListFacesRequest,
    ListFacesResponse,
    UnsuccessfulFaceDeletion,
)
from service.errors import InvalidPageToken

_COLLECTIONS: Final = "collections"
_CHECKSUM_BYTES: Final = 9


async def create(
    context: OperationContext, request: CreateCollectionRequest
) -> CreateCollectionResponse:
    """Create an empty collection."""
    await context.service.store.create_collection(request.collection_id, context.by)
    return CreateCollectionResponse(
        status_code=200,
        collection_arn=_arn(request.collection_id),
        face_model_version=context.face_model_version,
    )


async def list_all(
    context: OperationContext, request: ListCollectionsRequest
) -> ListCollectionsResponse:
    """List the names of the collections, a page at a time."""
    after = read_token(_COLLECTIONS, request.next_token)
    page = await context.service.store.collections(after, request.max_results)
    return ListCollectionsResponse(
        collection_ids=[collection.name for collection in page.items],
        face_model_versions=[context.face_model_version] * len(page.items),
        next_token=write_token(_COLLECTIONS, page.next),
    )


async def describe(
    context: OperationContext, request: DescribeCollectionRequest
) -> DescribeCollectionResponse:
    """Return how many faces a collection has, and when it was created."""
    collection = await context.service.store.collection(request.collection_id)
    return DescribeCollectionResponse(
        face_count=collection.counts.subjects,
        face_model_version=context.face_model_version,
        collection_arn=_arn(collection.name),
        creation_timestamp=collection.created_at.timestamp(),
    )


async def delete(
    context: OperationContext, request: DeleteCollectionRequest
) -> DeleteCollectionResponse:
    """Erase a collection and its faces; the receipt is in the audit log."""
    await context.service.store.delete_collection(request.collection_id, context.by)
    return DeleteCollectionResponse(status_code=200)


async def list_faces(context: OperationContext, request: ListFacesRequest) -> ListFacesResponse:
    """List the faces of a collection in the order of their ids, or the faces that are named."""
    store, name = context.service.store, request.collection_id
    await store.collection(name)
    listing, next_token = f"faces of {name}", None
    after = read_token(listing, request.next_token)
    if request.face_ids is None:
        page = await store.subjects(after, request.max_results, name)
        faces = [from_metadata(subject.metadata) for subject in page.items]
        next_token = write_token(listing, page.next)
    else:
        stored = [await find_face(store, name, face_id) for face_id in request.face_ids]
        faces = [each.face for each in stored if each is not None]
    return ListFacesResponse(
        faces=faces, next_token=next_token, face_model_version=context.face_model_version
    )


async def delete_faces(
    context: OperationContext, request: DeleteFacesRequest
) -> DeleteFacesResponse:
    """Erase faces; the receipt of each is in the audit log."""
    store = context.service.store
    await store.collection(request.collection_id)
    deleted, missing = [], []
    for face_id in request.face_ids:
        if await erase_face(store, request.collection_id, face_id, context.by):
            deleted.append(face_id)
        else:
            missing.append(UnsuccessfulFaceDeletion(face_id=face_id, reasons=["FACE_NOT_FOUND"]))
    return DeleteFacesResponse(deleted_faces=deleted, unsuccessful_face_deletions=missing)


def write_token(listing: str, position: str | None) -> str | None:
    """Return the token of the next page of a listing, None after the last page.

    It holds the position where the next page begins, and a checksum of listing and position.
    """
    if position is None:
        return None
    return urlsafe_b64encode(_checksum(listing, position) + position.encode()).decode()


def read_token(listing: str, token: str | None) -> str | None:
    """Return the position in a token of the same listing. Raises InvalidPageToken."""
    if token is None:
        return None
    try:
        position = urlsafe_b64decode(token)[_CHECKSUM_BYTES:].decode()
    except ValueError as exc:
        raise _invalid() from exc
    if write_token(listing, position) != token:
        raise _invalid()
    return position


def _checksum(listing: str, position: str) -> bytes:
    return hashlib.sha256(f"{listing}\0{position}".encode()).digest()[:_CHECKSUM_BYTES]


def _invalid() -> InvalidPageToken:
    return InvalidPageToken(
        "This NextToken is not from this listing; leave it out to start from the beginning."
    )


def _arn(name: str) -> str:
    return f"arn:likeness:rekognition:::collection/{name}"
