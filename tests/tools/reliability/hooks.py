"""Tell Schemathesis what the OpenAPI document cannot say, for example what a photo is.

Schemathesis loads this module itself (`hooks` in `schemathesis.toml`).
"""

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

from models.datasets.names import as_id
from tests.images import encode, noise, picture
from tests.photos import reencoded
from tests.tools.reliability.contract import ANSWERS, OWN_KEY

Case = schemathesis.Case[Any]
_NOBODY = "0" * 16
_BASE64 = "base64-photo"

_FACES = (reencoded("grace", 160), reencoded("astronaut", 200))
_FACELESS = (
    encode(picture(), "JPEG"),
    encode(noise(48, 48), "PNG"),
    encode(picture(40, 40), "WEBP"),
)


def photos() -> st.SearchStrategy[bytes]:
    """Draw photos, most of them of a face, some without a face, and some garbage."""
    faces = st.sampled_from(_FACES)
    return st.one_of(
        faces, faces, faces, st.sampled_from(_FACELESS), st.binary(min_size=1, max_size=200)
    )


def names() -> st.SearchStrategy[str]:
    """Draw printable names in any Unicode form."""
    characters = st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs"))
    return st.text(characters, min_size=1, max_size=60).filter(_is_name)


def _is_name(text: str) -> bool:
    try:
        as_id(text)
    except ValueError:
        return False
    return True


schemathesis.openapi.format("name", names())
schemathesis.openapi.format("binary", photos())
schemathesis.openapi.format(_BASE64, photos().map(lambda photo: b64encode(photo).decode()))
schemathesis.openapi.media_type("image/jpeg", photos())
schemathesis.openapi.media_type("application/octet-stream", photos())


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Mark base64 fields that hold photos, for the strategy above."""
    _mark(raw_schema)


def _mark(schema: Any) -> None:
    if isinstance(schema, list):
        for value in schema:
            _mark(value)
    elif isinstance(schema, dict):
        if schema.pop("contentEncoding", None) == "base64":
            schema["format"] = _BASE64
            schema["examples"] = [b64encode(photo).decode() for photo in _FACES]
        for value in schema.values():
            _mark(value)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Replace the id of the key in use in a path, so that the key is never deleted."""
    own = os.environ.get(OWN_KEY)
    if own is not None and case.path_parameters.get("key_id") == own:
        case.path_parameters["key_id"] = _NOBODY


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: Case, response: schemathesis.Response
) -> None:
    """Record the answer and the key of the caller."""
    with Path(os.environ[ANSWERS]).open("a") as file:
        file.write(f"{case.method} {case.operation.path} {response.status_code}\n")


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: Case,
    response: schemathesis.Response,
) -> bool:
    """Keep every failure except those that the document cannot describe."""
    match failure:
        case RejectedPositiveData():
            return _is_malformed(case, response.json())
        case AcceptedNegativeData():
            # Too long a query is refused as well, by a status that it does not count as that.
            # What is empty in a query is left out, whatever it should have been.
            too_long = response.status_code == 431
            return not (too_long or _is_wrong_in_query_alone(case) or _has_an_empty_parameter(case))
        case _:
            return True


def _is_bare(case: Case) -> bool:
    return (case.media_type or "").startswith(("image/", "application/octet-stream"))


def _is_malformed(case: Case, problem: dict[str, Any]) -> bool:
    """Tell whether a request was refused for its form.

    A valid request may still have a photo without a face, or a repeated idempotency key. For a bare
    photo the document cannot say which query it needs, and for a form it cannot say which fields go
    together.
    """
    if problem["code"] not in ("invalid_request", "unsupported_body") or _is_bare(case):
        return False
    between_fields = [error["field"] for error in problem.get("errors", ())] == ["body"]
    return not (between_fields and case.media_type == "multipart/form-data")


def _is_wrong_in_query_alone(case: Case) -> bool:
    """Tell whether only the query is wrong, which is read only with a bare photo."""
    if case.meta is None or case.media_type is None or _is_bare(case):
        return False
    places = case.meta.components.items()
    return {place for place, part in places if part.mode.is_negative} == {ParameterLocation.QUERY}


def _has_an_empty_parameter(case: Case) -> bool:
    return any(value in ("", [""]) for value in (case.query or {}).values())
