"""Describe to OpenAPI what FastAPI cannot see: bodies with photos, and what follows an answer."""

from pydantic import BaseModel, JsonValue

from service.edge.body import BINARY

_EXAMPLE = "/9j/4AAQSkZJRgABAQAAAQABAAD/"
_PHOTO: JsonValue = {
    "type": "string",
    "format": BINARY,
    "description": "one photo and nothing else, as `image`; the other fields go into the query",
}


def request_body(model: type[BaseModel]) -> dict[str, JsonValue]:
    """Return what to pass as `openapi_extra`: every way to send the model.

    The model must be flat: a schema with references of its own has no place to point to.
    """
    schema = _schema(model)
    # What holds between fields is said of JSON alone: tools that show forms stumble over it.
    form = _flat({k: v for k, v in schema.items() if k not in ("not", "oneOf")}, null=False)
    return {
        "parameters": _parameters(form),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": _with_base64(_flat(schema, null=True))},
                "image/*": {"schema": _PHOTO},
                "application/octet-stream": {"schema": _PHOTO},
            },
        },
    }


def json_body(model: type[BaseModel]) -> dict[str, JsonValue]:
    """Return what to pass as `openapi_extra`: a body of JSON without photos. It must be flat."""
    content: JsonValue = {"application/json": {"schema": _flat(_schema(model), null=True)}}
    return {"requestBody": {"required": True, "content": content}}


def links(**given: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return, for the `responses` of a route, which operations its answer gives values to.

    A link is named as the operation it leads to: `subject={"path.subject": EXPRESSION}`; what
    is under `body` goes into that operation's body.
    """
    return {"links": {name: _link(name, dict(values)) for name, values in given.items()}}


def _schema(model: type[BaseModel]) -> dict[str, JsonValue]:
    schema = model.model_json_schema()
    if "$defs" in schema:
        raise ValueError(f"{model.__name__} is not flat")
    return schema


def _link(operation: str, values: dict[str, JsonValue]) -> JsonValue:
    body = values.pop("body", None)
    link: dict[str, JsonValue] = {"operationId": operation, "parameters": values}
    return link if body is None else link | {"requestBody": body}


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


def _flat(schema: JsonValue, *, null: bool) -> JsonValue:
    """Merge the alternatives "this or null" into one schema, which a form has no null in."""
    if isinstance(schema, list):
        return [_flat(value, null=null) for value in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _flat(value, null=null) for key, value in schema.items()}
    match plain.pop("anyOf", None):
        case [dict(only), {"type": "null"}]:
            plain.pop("default", None)
            return _or_null(only | plain) if null else only | plain
        case None:
            return plain
        case other:
            return plain | {"anyOf": other}


def _or_null(schema: dict[str, JsonValue]) -> JsonValue:
    values = schema.get("enum")
    if isinstance(values, list):
        schema = schema | {"enum": [*values, None]}
    return schema | {"type": [schema["type"], "null"]}


def _with_base64(schema: JsonValue) -> JsonValue:
    if isinstance(schema, list):
        return [_with_base64(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _with_base64(value) for key, value in schema.items() if value != BINARY}
    if len(plain) == len(schema):
        return plain
    return plain | {"contentEncoding": "base64", "examples": [_EXAMPLE]}
