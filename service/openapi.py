"""Describe the body of a request to OpenAPI: as multipart, as JSON and as one bare photo."""

from pydantic import BaseModel, JsonValue

from service.body import BINARY

_EXAMPLE = "/9j/4AAQSkZJRgABAQAAAQABAAD..."
_PHOTO: JsonValue = {
    "type": "string",
    "format": BINARY,
    "description": "one photo and nothing else, as `image`; the other fields go into the query",
}


def request_body(model: type[BaseModel]) -> dict[str, JsonValue]:
    """Return what to pass as `openapi_extra`: every way to send the model.

    The model must be flat: a schema with references of its own has no place to point to.
    """
    schema = model.model_json_schema()
    if "$defs" in schema:
        raise ValueError(f"{model.__name__} is not flat")
    form: JsonValue = _without_null(schema)
    return {
        "parameters": _parameters(form),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": _with_base64(form)},
                "image/*": {"schema": _PHOTO},
                "application/octet-stream": {"schema": _PHOTO},
            },
        },
    }


def _parameters(form: JsonValue) -> list[JsonValue]:
    """Return the fields that are no photos as query parameters."""
    match form:
        case {"properties": dict(fields), **rest}:
            required = rest.get("required")
            names = required if isinstance(required, list) else []
            return [
                _parameter(name, field, needed=name in names)
                for name, field in fields.items()
                if isinstance(field, dict) and not _is_photo(field)
            ]
        case _:
            return []


def _parameter(name: str, field: dict[str, JsonValue], *, needed: bool) -> JsonValue:
    # Never `required`: that would hold for multipart and JSON too, which have no query.
    when = (
        "Only beside a bare photo, where it is required" if needed else "Only beside a bare photo"
    )
    words = field.get("description")
    described: dict[str, JsonValue] = {
        "name": name,
        "in": "query",
        "description": when if words is None else f"{when}: {words}",
    }
    schema: JsonValue = {key: value for key, value in field.items() if key != "description"}
    if field.get("type") == "object":
        # Otherwise OpenAPI would spread the object over parameters of its own.
        return described | {"content": {"application/json": {"schema": schema}}}
    return described | {"schema": schema}


def _is_photo(field: dict[str, JsonValue]) -> bool:
    items = field.get("items")
    return BINARY in (field.get("format"), items.get("format") if isinstance(items, dict) else None)


def _without_null(schema: JsonValue) -> JsonValue:
    """Drop `null` from optional fields: they are left out, and forms have no null."""
    if isinstance(schema, list):
        return [_without_null(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _without_null(value) for key, value in schema.items()}
    match plain.get("anyOf"):
        case [dict(only), {"type": "null"}]:
            return only | {k: v for k, v in plain.items() if k not in ("anyOf", "default")}
        case _:
            return plain


def _with_base64(schema: JsonValue) -> JsonValue:
    if isinstance(schema, list):
        return [_with_base64(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _with_base64(value) for key, value in schema.items() if value != BINARY}
    if len(plain) == len(schema):
        return plain
    return plain | {"contentEncoding": "base64", "examples": [_EXAMPLE]}
