"""Read a request into a model: the same from multipart, from JSON and from a bare photo.

Photos stay in memory: no part of a body is written to a temporary file.
"""

import types
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    JsonValue,
    ValidationError,
)
from pydantic.fields import FieldInfo
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.edge.multipart import Part, PartReader, as_object, read_json, read_query, read_value
from service.edge.problems import field_errors, printable
from service.errors import ClientGone, FieldError, UnsupportedBody, invalid_fields
from service.settings import Settings

# Text fields besides the images; no route has half as many.
_MAX_TEXT_PARTS = 32
_PHOTO_FIELD = "image"
_JSON: Final = b"application/json"

M = TypeVar("M", bound=BaseModel)
Shape = Literal["list", "object", "scalar"]
Values = dict[str, list[JsonValue | bytes]]


@dataclass(frozen=True, slots=True)
class Fields:
    """Hold the fields of a request before they are checked against a model.

    `values` has all values of each name: bytes for a file part or a bare photo, text for a text
    part or a query parameter, and any JSON value for JSON. Where a model is `strict`, JSON values
    must have the right type; values that `are_text` are converted instead.
    """

    values: Mapping[str, Sequence[JsonValue | bytes]]
    max_images: int
    are_text: bool = False

    def after(self, query: Mapping[str, Sequence[str]]) -> "Fields":
        """Return these fields, replaced by those of a query where both have the same name.

        A query is text, so the result counts as text.
        """
        return replace(self, values={**self.values, **query}, are_text=True)


async def read_fields(request: Request, settings: Settings) -> Fields:
    """Read the body to its end.

    Raises UnsupportedBody, InvalidRequest, ClientGone, and the errors of the admission layer:
    BodyTooLarge and BodyTimeout.
    """
    kind, options = _kind(request)
    match kind:
        case b"multipart/form-data":
            max_parts = settings.max_images + _MAX_TEXT_PARTS
            values = await _form(request, options.get(b"boundary", b""), max_parts)
        case b"application/json":
            parsed = as_object(await read_json_body(request))
            values = {name: [value] for name, value in parsed.items()}
        case _ if _is_photo(kind):
            values = await _photo(request)
        case _:
            raise UnsupportedBody(
                "The body is neither multipart/form-data nor application/json, nor a photo "
                "(image/* or application/octet-stream)."
            )
    return Fields(values, settings.max_images, kind != _JSON)


async def read_model(request: Request, model: type[M]) -> M:
    """Read a JSON body without photos into a model. Raises what `read_fields` raises."""
    return validate(await read_json_body(request), model)


async def read_json_body(request: Request, wanted: bytes = _JSON) -> JsonValue:
    """Read a JSON body.

    Its media type must be `wanted`: foreign web pages can make a browser send some other types
    without a preflight request. Raises what `read_fields` raises.
    """
    kind, options = _kind(request)
    if kind != wanted:
        raise UnsupportedBody(f"The body is not {wanted.decode()}.")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise UnsupportedBody("JSON must be UTF-8, but the content type names another charset.")
    return read_value(await _whole(request))


def _kind(request: Request) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the media type of a body and its parameters. Raises UnsupportedBody."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedBody("The body is compressed; send it uncompressed.")
    return parse_options_header(request.headers.get("content-type"))


async def _form(request: Request, boundary: bytes, max_parts: int) -> Values:
    reader = PartReader(boundary, max_parts)
    async for chunk in _chunks(request):
        reader.write(chunk)
    return _grouped(reader.close())


async def _photo(request: Request) -> Values:
    """Read the field `image` from the body, and the other fields from the query."""
    photo = await _whole(request)
    values = _grouped(read_query(request.scope["query_string"], _MAX_TEXT_PARTS))
    if _PHOTO_FIELD in values:
        message = "Is the body of this request, so it cannot be a query parameter"
        raise invalid_fields([FieldError(_PHOTO_FIELD, message)])
    return values | {_PHOTO_FIELD: [photo]}


async def _whole(request: Request) -> bytes:
    return b"".join([chunk async for chunk in _chunks(request)])


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as exc:
        raise ClientGone("The client went away while it sent its request.") from exc


def _is_photo(kind: bytes) -> bool:
    """Tell whether the media type is that of a photo; the decoder checks the bytes later."""
    family, _, subtype = kind.partition(b"/")
    return (family == b"image" and subtype != b"") or kind == b"application/octet-stream"


def parse(fields: Fields, model: type[M]) -> M:
    """Turn fields into a model; form, query and JSON give the same result.

    An empty text counts as a field that was left out, because forms and queries cannot send null.
    Raises InvalidRequest, which names every wrong, unknown or repeated field.
    """
    known = {name: field for field in model.model_fields.items() for name in _names(*field)}
    errors: list[FieldError] = []
    values: dict[str, object] = {}
    for name, given in fields.values.items():
        if name not in known:
            errors.append(FieldError(printable(name), "There is no such field"))
            continue
        field_name, info = known[name]
        key = _names(field_name, info)[0]
        shape = _shape(info.annotation)
        if fields.are_text and all(value == "" for value in given):
            continue
        if key in values or (shape != "list" and len(given) > 1):
            errors.append(FieldError(name, "Is given more than once"))
        elif list(given) == [None]:
            values[key] = None
        elif shape == "list" and len(many := _flat(given)) > fields.max_images:
            errors.append(FieldError(name, f"Holds {len(many)} items, at most {fields.max_images}"))
        else:
            values[key] = many if shape == "list" else _object(given[0], shape)
    if errors:
        raise invalid_fields(errors)
    return validate(values, model, strict=False if fields.are_text else None)


def validate(values: object, model: type[M], strict: bool | None = None) -> M:
    """Return the values as a model. Raises InvalidRequest, which names every wrong field."""
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_input=False, include_context=False)
        raise invalid_fields(field_errors([dict(detail) for detail in details])) from None


def _grouped(parts: Sequence[Part]) -> Values:
    values: Values = {}
    for part in parts:
        values.setdefault(part.name, []).append(part.value)
    return values


def _flat(given: Sequence[JsonValue | bytes]) -> list[JsonValue | bytes]:
    """Make one list of repeated parts, of a JSON list, or of a single value."""
    if len(given) == 1 and isinstance(given[0], list):
        return list(given[0])
    return list(given)


def _object(value: JsonValue | bytes, shape: Shape) -> JsonValue | bytes:
    """Read the JSON of an object field, which forms and queries send as text."""
    if shape != "object" or not isinstance(value, str | bytes):
        return value
    return read_json(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def _names(name: str, field: FieldInfo) -> list[str]:
    """Return every name of a field on the wire; the first is the one that validation uses."""
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return [choice for choice in choices if isinstance(choice, str)]
        case str(alias):
            return [alias]
        case _:
            return [name]


def _shape(annotation: object) -> Shape:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _shape(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        shapes = {_shape(part) for part in get_args(annotation) if part is not type(None)}
        return shapes.pop() if len(shapes) == 1 else "scalar"
    if origin is list:
        return "list"
    return "object" if origin is dict else "scalar"
