"""Subjects' names: the name that a request means, and names that an earlier release accepted."""

import re
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from models.datasets.names import as_id
from service.api.store import AfterName, PageLimit, StoreDep
from service.errors import FieldError, SubjectNotFound, invalid_fields
from service.schemas.gallery import OddNamesAnswer
from service.schemas.requests import StoredName
from service.store.protocol import Gallery

router = APIRouter(prefix="/names", tags=["gallery"])
# The names that earlier releases accepted.
_EARLIER_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,256}")


async def subject_named(store: Gallery, given: str) -> str:
    """Return the stored name of the subject that a request names.

    A name is stored in one normal form. A subject of an earlier release whose name has no such
    form is found by exactly its own characters. Raises InvalidRequest.
    """
    try:
        name = as_id(given)
    except ValueError as exc:
        name, message = "", str(exc)
    if name != given and _EARLIER_NAME.fullmatch(given):
        with suppress(SubjectNotFound):
            return (await store.subject(given)).subject
    if not name:
        raise invalid_fields([FieldError("subject", message)])
    return name


async def _subject_in_path(store: StoreDep, subject: Annotated[StoredName, Path()]) -> str:
    return await subject_named(store, subject)


SubjectInPath = Annotated[str, Depends(_subject_in_path)]


@router.get("")
async def odd_names(
    store: StoreDep, after: AfterName = None, limit: PageLimit = 100
) -> OddNamesAnswer:
    """List subjects with an invalid name of an earlier release, so that they can be renamed.

    The normal form of such a name is empty or belongs to another subject.
    """
    return OddNamesAnswer.model_validate(await store.odd_names(after, limit))
