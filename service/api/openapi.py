"""Add to the OpenAPI document what FastAPI cannot see: bodies, links and problems."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, JsonValue

from service.api.needs import OPEN_PATHS, PHOTO_PATHS
from service.edge.guard import HEADER
from service.edge.problems import MEDIA_TYPE
from service.errors import STATUS
from service.schemas.problem import Problem
from service.schemas.requests import BINARY

_EXAMPLE = "/9j/4AAQSkZJRgABAQAAAQABAAD/"
_PHOTO: JsonValue = {
    "type": "string",
    "format": BINARY,
    "description": "one photo alone, as `image`; the other fields go into the query",
}


def request_body(model: type[BaseModel]) -> dict[str, JsonValue]:
    """Return the `openapi_extra` of a route that accepts a model in every format.

    The model must be flat: its schema must not contain references.
    """
    schema = _schema(model)
    # Rules between fields are documented for JSON only: tools that show forms fail on them.
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
    """Return the `openapi_extra` of a route that accepts a flat model as JSON, without photos."""
    content: JsonValue = {"application/json": {"schema": _flat(_schema(model), null=True)}}
    return {"requestBody": {"required": True, "content": content}}


def links(**parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return, for the `responses` of a route, the links to operations that can use its answer.

    A link has the name of the operation: `subject={"path.subject": EXPRESSION}`. The values under
    `body` go into that operation's body.
    """
    return {"links": {name: _link(name, dict(values)) for name, values in parameters.items()}}


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
    """Return the fields that are not photos as query parameters."""
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
    # Never `required`: multipart and JSON requests do not need the query.
    prefix = (
        "Only beside a bare photo, where it is required" if needed else "Only beside a bare photo"
    )
    text = field.get("description")
    described: dict[str, JsonValue] = {
        "name": name,
        "in": "query",
        "description": prefix if text is None else f"{prefix}: {text}",
    }
    schema: JsonValue = {key: value for key, value in field.items() if key != "description"}
    if field.get("type") == "object":
        # Otherwise OpenAPI would make a parameter of each field of the object.
        return described | {"content": {"application/json": {"schema": schema}}}
    return described | {"schema": schema}


def _is_photo(field: dict[str, JsonValue]) -> bool:
    items = field.get("items")
    return BINARY in (field.get("format"), items.get("format") if isinstance(items, dict) else None)


def _flat(schema: JsonValue, *, null: bool) -> JsonValue:
    """Merge the alternatives `X` and `null` into one schema; a form has no null."""
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


_COMMON_CODES = (
    "head_too_large",
    "body_too_large",
    "internal_error",
    "not_ready",
    "draining",
    "store_unavailable",
    "store_damaged",
)
_KEY_CODES = ("key_missing", "key_invalid", "key_forbidden", "key_busy", "proxy_not_allowed")
_KEYLESS_CODES = ("host_not_allowed", "proxy_not_allowed")
_BODY_CODES = ("body_timeout", "unsupported_body", "invalid_request")
_PHOTO_CODES = (
    "image_too_large",
    "not_an_image",
    "unsupported_image",
    "too_many_pixels",
    "pixel_budget_spent",
    "undecodable_image",
    "no_face",
    "several_faces",
    "face_too_small",
    "too_many_requests",
    "queue_full",
    "deadline_passed",
    "out_of_memory",
    "device_lost",
    "degenerate_vector",
    "wrong_row_count",
    "encoder_failed",
    "encoder_stalled",
    "encoder_stopped",
    "decoder_stalled",
)
_POINT_CODES = (
    "unknown_operating_point",
    "uncalibrated",
    "threshold_too_low",
    "fingerprint_mismatch",
)
_LIVENESS_CODES = ("liveness_token_needed", "not_live", "liveness_unavailable")
# The key is a path, or an operation id if the path has other operations.
_ROUTE_CODES: Final[dict[str, tuple[str, ...]]] = {
    "/enroll": (
        *_LIVENESS_CODES,
        "template_id_taken",
        "subject_elsewhere",
        "idempotency_conflict",
        "low_quality",
        "inconsistent",
    ),
    "/verify": (
        *_LIVENESS_CODES,
        "subject_not_found",
        "templates_damaged",
        "templates_expired",
        "different_people",
        *_POINT_CODES,
    ),
    "/identify": (*_LIVENESS_CODES, "different_people", *_POINT_CODES),
    "/embed": ("not_acceptable",),
    "/map": ("too_many_requests",),
    "delete_by_name": ("subject_not_found",),
    "/subjects/{subject}/templates": ("subject_not_found", "template_not_found"),
    "/subjects/{subject}": ("subject_not_found",),
    "/subjects/{subject}/export": ("subject_not_found",),
    "/subjects/{subject}/rename": ("subject_not_found", "subject_exists"),
    "/subjects/{subject}/templates/{template_id}": ("subject_not_found", "template_not_found"),
    "/change": ("no_change",),
    "/change/lacking": ("no_change",),
    "/change/reembed": (
        "no_change",
        "subject_not_found",
        "template_not_found",
        "photo_needed",
        "other_photo",
    ),
    "/change/switch": ("no_change", "change_incomplete"),
    "/change/forget": ("no_change",),
    "/keys": ("no_master_key",),
    "/keys/{key_id}": ("key_not_found",),
    "/reseal": ("no_master_key",),
    "/livez": ("encoder_stopped", "decoder_stalled"),
}
_HEADERS: Final[dict[int, dict[str, JsonValue]]] = {
    401: {"www-authenticate": {"schema": {"type": "string"}}},
    429: {"retry-after": {"description": "seconds", "schema": {"type": "integer"}}},
    503: {"retry-after": {"description": "seconds", "schema": {"type": "integer"}}},
}


class DocumentedApp(FastAPI):
    """Serve an OpenAPI document with the parts that FastAPI cannot know."""

    def __init__(self, *, with_keys: bool, **options: Any) -> None:
        super().__init__(generate_unique_id_function=_operation_id, **options)
        self._with_keys = with_keys

    def openapi(self) -> dict[str, Any]:
        """Return the document; it is made once."""
        if self.openapi_schema is None:
            _complete(super().openapi(), self._with_keys)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


def _complete(document: dict[str, Any], with_keys: bool) -> None:
    components = document["components"]
    # FastAPI's own errors are sent as problems too.
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["schemas"]["Problem"] = Problem.model_json_schema(
        ref_template="#/components/schemas/{model}"
    )
    components["schemas"] |= components["schemas"]["Problem"].pop("$defs")
    if with_keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
            "header": {"type": "apiKey", "in": "header", "name": HEADER},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if with_keys and path in OPEN_PATHS:
                operation["security"] = []
            operation["responses"].pop("422", None)
            operation["responses"] |= _problems(path, operation, with_keys)


def _problems(path: str, operation: dict[str, Any], with_keys: bool) -> dict[str, JsonValue]:
    """Return a response for each status of a route's problems."""
    by_status: dict[int, list[str]] = {}
    for code in _codes(path, operation, with_keys):
        by_status.setdefault(STATUS[code], []).append(f"`{code}`")
    problem: JsonValue = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": ", ".join(codes), "content": problem}
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status, codes in sorted(by_status.items())
    }


def _codes(path: str, operation: dict[str, Any], with_keys: bool) -> Iterator[str]:
    yield from _COMMON_CODES
    if path not in OPEN_PATHS:
        yield from _KEY_CODES if with_keys else _KEYLESS_CODES
    if "requestBody" in operation:
        yield from _BODY_CODES
    elif any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        yield "invalid_request"
    if "{subject}" in path and "requestBody" not in operation:
        yield "invalid_request"
    if "{" in path:
        yield "not_found"
    if path in PHOTO_PATHS:
        yield from _PHOTO_CODES
    yield from _ROUTE_CODES.get(path, ())
    yield from _ROUTE_CODES.get(operation["operationId"], ())
