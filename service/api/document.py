"""Complete the OpenAPI document: who may call, and everything that can be answered instead."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import JsonValue

from service.edge.admission import ALWAYS_OPEN, IMAGE_ROUTES
from service.edge.guard import HEADER
from service.edge.problems import MEDIA_TYPE
from service.schemas.problem import Problem
from service.status import STATUS

_EVERYWHERE = (
    "head_too_large",
    "body_too_large",
    "internal_error",
    "not_ready",
    "draining",
    "store_unavailable",
    "store_damaged",
)
_WITH_KEY = ("key_missing", "key_invalid", "key_forbidden", "key_busy", "proxy_not_allowed")
_WITHOUT_KEY = ("host_not_allowed", "proxy_not_allowed")
_WITH_BODY = ("body_timeout", "unsupported_body", "invalid_request")
_WITH_PHOTO = (
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
_AT_A_POINT = (
    "unknown_operating_point",
    "uncalibrated",
    "threshold_too_low",
    "fingerprint_mismatch",
)
_LIVENESS = ("liveness_token_needed", "not_live", "liveness_unavailable")
# By the path, or by the operation where its path has others too.
_OWN: Final[dict[str, tuple[str, ...]]] = {
    "/enroll": (
        *_LIVENESS,
        "template_id_taken",
        "subject_elsewhere",
        "idempotency_conflict",
        "low_quality",
        "inconsistent",
    ),
    "/verify": (
        *_LIVENESS,
        "subject_not_found",
        "templates_damaged",
        "templates_expired",
        "different_people",
        *_AT_A_POINT,
    ),
    "/identify": (*_LIVENESS, "different_people", *_AT_A_POINT),
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
    """Serve a document that says of each route what FastAPI cannot know of it."""

    def __init__(self, *, with_keys: bool, **options: Any) -> None:
        super().__init__(generate_unique_id_function=_operation_id, **options)
        self._with_keys = with_keys

    def openapi(self) -> dict[str, Any]:
        """Return the document, the same one every time."""
        if self.openapi_schema is None:
            _complete(super().openapi(), self._with_keys)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


def _complete(document: dict[str, Any], with_keys: bool) -> None:
    components = document["components"]
    # FastAPI's own errors are answered as problems, too.
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
            if with_keys and path in ALWAYS_OPEN:
                operation["security"] = []
            operation["responses"].pop("422", None)
            operation["responses"] |= _refusals(path, operation, with_keys)


def _refusals(path: str, operation: dict[str, Any], with_keys: bool) -> dict[str, JsonValue]:
    """Return a response for each status of the problems a route may answer with."""
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
    yield from _EVERYWHERE
    if path not in ALWAYS_OPEN:
        yield from _WITH_KEY if with_keys else _WITHOUT_KEY
    if "requestBody" in operation:
        yield from _WITH_BODY
    elif any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        yield "invalid_request"
    if "{subject}" in path and "requestBody" not in operation:
        yield "invalid_request"
    if "{" in path:
        yield "not_found"
    if path in IMAGE_ROUTES:
        yield from _WITH_PHOTO
    yield from _OWN.get(path, ())
    yield from _OWN.get(operation["operationId"], ())
