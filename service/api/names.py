"""Names of earlier releases over HTTP: those that could not be given now."""

import re
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query

from models.datasets.names import as_id
from service.edge.problems import invalid_fields
from service.errors import FieldError, SubjectNotFound
from service.recognition.service import ServiceDep
from service.schemas.gallery import OddNamesAnswer
from service.schemas.requests import StoredName
from service.store import Store

router = APIRouter(prefix="/names", tags=["gallery"])


@router.get("")
async def odd_names(
    service: ServiceDep,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> OddNamesAnswer:
    """List subjects that keep a name of an earlier release, for somebody to rename them.

    Their names could not be given now, and have no form that is not another subject's.
    """
    return OddNamesAnswer.model_validate(await service.store.odd_names(after, limit))


# What earlier releases took for a name.
_OF_BEFORE: Final = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,256}")


async def subject_named(store: Store, given: str, field: str = "subject") -> str:
    """Return the name by which the store knows the subject that a request names.

    That is the one form of the name; but a name of an earlier release that could not be put into
    this form is found as it is, by exactly its own characters. Raises InvalidRequest.
    """
    try:
        name = as_id(given)
    except ValueError as exc:
        name, wrong = "", str(exc)
    if name != given and _OF_BEFORE.fullmatch(given):
        with suppress(SubjectNotFound):
            return (await store.subject(given)).subject
    if not name:
        raise invalid_fields([FieldError(field, wrong)])
    return name


async def _subject_in_path(service: ServiceDep, subject: Annotated[StoredName, Path()]) -> str:
    return await subject_named(service.store, subject)


SubjectInPath = Annotated[str, Depends(_subject_in_path)]
