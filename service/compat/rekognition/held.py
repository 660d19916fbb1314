"""A face in a collection, as the store has it: a subject that keeps what was said of it."""

from collections.abc import Mapping
from typing import Final

from service.compat.rekognition.shapes import Face
from service.errors import SubjectNotFound
from service.store import Store

_NOTE: Final = "rekognition"


def to_metadata(face: Face) -> dict[str, str]:
    """Return what the subject of a face keeps."""
    return {_NOTE: face.written()}


def from_metadata(metadata: Mapping[str, str]) -> Face:
    """Return the face that a subject is."""
    return Face.model_validate_json(metadata[_NOTE])


async def find_face(store: Store, collection: str, face_id: str) -> Face | None:
    """Return a face by its id, None if the collection has none of it."""
    try:
        held = await store.subject(face_id)
    except SubjectNotFound:
        return None
    return from_metadata(held.metadata) if held.collection == collection else None
