import json
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, Field

from service.api.openapi import request_body
from service.app import create_app
from service.errors import STATUS
from service.schemas.requests import ImageBytes
from service.settings import Settings

RAW = ("image/*", "application/octet-stream")


class Form(BaseModel):
    image: list[ImageBytes] = Field(min_length=1, description="photos")
    subject: str = Field(max_length=8, examples=["ada"], description="who")
    first: ImageBytes | None = Field(None, validation_alias=AliasChoices("first", "img1"))
    metadata: dict[str, str] | None = None
    limit: int | None = Field(None, ge=1, le=9)


class Document(BaseModel):
    """Parse the parts of the document that these tests use."""

    class Parameter(BaseModel):
        name: str
        place: str = Field(alias="in")
        required: bool = False
        description: str
        schema_: dict[str, object] | None = Field(None, alias="schema")
        content: dict[str, object] | None = None

    class Body(BaseModel):
        class Media(BaseModel):
            schema_: dict[str, object] = Field(alias="schema")

        content: dict[str, Media]

    parameters: list[Parameter]
    body: Body = Field(alias="requestBody")


DOCUMENT = Document.model_validate(request_body(Form))


def schema(kind: str) -> dict[str, object]:
    return DOCUMENT.body.content[kind].schema_


def field(kind: str, name: str) -> dict[str, object]:
    properties = schema(kind)["properties"]
    assert isinstance(properties, dict)
    found: dict[str, object] = properties[name]
    return found


def parameter(name: str) -> Document.Parameter:
    return next(found for found in DOCUMENT.parameters if found.name == name)


def test_form_is_documented_with_files() -> None:
    assert field("multipart/form-data", "image") == {
        "description": "photos",
        "items": {"format": "binary", "type": "string"},
        "minItems": 1,
        "title": "Image",
        "type": "array",
    }


def test_optional_file_is_documented_as_a_file() -> None:
    assert field("multipart/form-data", "first") == {
        "format": "binary",
        "title": "First",
        "type": "string",
    }


def test_json_is_documented_with_base64() -> None:
    first = field("application/json", "first")
    assert (first["contentEncoding"], "format" in first) == ("base64", False)


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json"])
def test_examples_are_documented_in_both(kind: str) -> None:
    assert field(kind, "subject")["examples"] == ["ada"]


@pytest.mark.parametrize("kind", RAW)
def test_bare_photo_is_documented_as_binary(kind: str) -> None:
    assert (schema(kind)["type"], schema(kind)["format"]) == ("string", "binary")


def test_fields_that_are_not_photos_are_query_parameters() -> None:
    assert [(found.name, found.place) for found in DOCUMENT.parameters] == [
        ("subject", "query"),
        ("metadata", "query"),
        ("limit", "query"),
    ]


def test_query_parameter_keeps_its_bounds_without_null() -> None:
    assert parameter("limit").schema_ == {
        "maximum": 9,
        "minimum": 1,
        "title": "Limit",
        "type": "integer",
    }


def test_required_field_is_required_in_words_only() -> None:
    subject = parameter("subject")
    assert (subject.required, subject.description) == (
        False,
        "Only beside a bare photo, where it is required: who",
    )


def test_object_in_the_query_is_documented_as_json_text() -> None:
    metadata = parameter("metadata")
    assert (metadata.schema_, list(metadata.content or {})) == (None, ["application/json"])


def test_model_that_is_not_flat_is_refused() -> None:
    class Nested(BaseModel):
        form: Form

    with pytest.raises(ValueError, match="Nested is not flat"):
        request_body(Nested)


@pytest.mark.parametrize("path", ["/enroll", "/verify", "/identify", "/embed"])
def test_every_route_with_images_documents_a_bare_photo(path: str) -> None:
    body = create_app(Settings()).openapi()["paths"][path]["post"]["requestBody"]
    assert set(RAW) <= set(body["content"])


def test_enroll_documents_its_header_beside_its_query() -> None:
    parameters = create_app(Settings()).openapi()["paths"]["/enroll"]["post"]["parameters"]
    assert {(found["in"], found["name"]) for found in parameters} == {
        ("header", "idempotency-key"),
        ("query", "subject"),
        ("query", "template_id"),
        ("query", "metadata"),
        ("query", "expires_at"),
        ("query", "consent"),
        ("query", "purpose"),
        ("query", "policy"),
        ("query", "accept_quality"),
        ("query", "accept_inconsistent"),
        ("query", "liveness_token"),
    }


def test_embed_documents_json_and_rows() -> None:
    answer = create_app(Settings()).openapi()["paths"]["/embed"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "application/octet-stream"}


def test_every_reference_of_the_document_has_a_target() -> None:
    document = create_app(Settings()).openapi()
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    used: set[str] = set()
    json.loads(json.dumps(document), object_hook=lambda found: used.add(found.get("$ref", "")))
    assert used - schemas == {""}


# Raised at start, without a request to a route, or only in the formats of other services.
_NO_ANSWERS = {
    "invalid_bundle",
    "invalid_settings",
    "store_in_use",
    "method_not_allowed",
    "client_gone",
    "head_timeout",
    "malformed_request",
    "invalid_page_token",
    "collection_not_found",
    "collection_exists",
}


def document(**settings: Any) -> dict[str, Any]:
    return create_app(Settings(**settings)).openapi()


def operations(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        found["operationId"]: found for item in made["paths"].values() for found in item.values()
    }


def test_every_code_is_documented_for_some_route() -> None:
    words = " ".join(
        answer["description"]
        for made in (document(), document(without_keys=True))
        for operation in operations(made).values()
        for answer in operation["responses"].values()
    )
    assert {code for code in STATUS if f"`{code}`" not in words} == _NO_ANSWERS


def test_refusals_are_documented_as_problems() -> None:
    answers = operations(document())["verify"]["responses"]
    assert list(answers["404"]["content"]) == ["application/problem+json"]
    assert answers["404"]["description"] == "`subject_not_found`, `templates_expired`"


def test_no_route_documents_the_errors_of_the_framework() -> None:
    made = document()
    assert "HTTPValidationError" not in made["components"]["schemas"]
    assert "HTTPValidationError" not in str(made["paths"])


def test_every_route_but_health_and_metrics_documents_a_key() -> None:
    made = document()
    assert made["security"] == [{"bearer": []}, {"header": []}]
    open_to_all = {name for name, found in operations(made).items() if found.get("security") == []}
    assert open_to_all == {"livez", "readyz", "metrics"}


def test_no_key_is_documented_if_none_is_needed() -> None:
    made = document(without_keys=True)
    assert "security" not in made
    assert "401" not in operations(made)["verify"]["responses"]


def test_every_link_leads_to_an_operation_and_its_parameters() -> None:
    every = operations(document())
    links = [
        link
        for operation in every.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 10
    for link in links:
        parameters = every[link["operationId"]].get("parameters", [])
        known = {f"{parameter['in']}.{parameter['name']}" for parameter in parameters}
        assert set(link["parameters"]) <= known


@pytest.mark.parametrize("status", ["429", "503"])
def test_retry_after_is_documented(status: str) -> None:
    headers = operations(document())["embed"]["responses"][status]["headers"]
    assert headers["retry-after"]["schema"] == {"type": "integer"}
