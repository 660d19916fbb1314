"""A face in a collection, as the store has it: a template by its id, alone in a subject.

The subject keeps what was said of the face. It is called by the face's id at first, and may have
been given another name since, as any subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.compat.rekognition.shapes import Face
from service.errors import SubjectNotFound, TemplateNotFound
from service.store import Store

_NOTE: Final = "rekognition"
# A subject that changes its name while it is looked up is looked up again, so often at most.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class HeldFace:
    """Hold a face, and what its subject is called now."""

    subject: str
    face: Face


def to_metadata(face: Face) -> dict[str, str]:
    """Return what the subject of a face keeps."""
    return {_NOTE: face.written()}


def from_metadata(metadata: Mapping[str, str]) -> Face:
    """Return the face that a subject is."""
    return Face.model_validate_json(metadata[_NOTE])


async def find_face(store: Store, collection: str, face_id: str) -> HeldFace | None:
    """Return a face by its id, None if the collection has none of it."""
    for _ in range(_TRIES):
        try:
            subject = await store.subject_of(face_id)
            held = await store.subject(subject)
        except TemplateNotFound:
            return None
        except SubjectNotFound:
            continue
        here = held.collection == collection
        return HeldFace(subject, from_metadata(held.metadata)) if here else None
    return None


async def erase_face(store: Store, collection: str, face_id: str, by: str | None) -> bool:
    """Erase a face by its id; False if the collection has none of it."""
    for _ in range(_TRIES):
        found = await find_face(store, collection, face_id)
        if found is None:
            return False
        try:
            await store.delete_subject(found.subject, by)
        except SubjectNotFound:
            continue
        return True
    return False
