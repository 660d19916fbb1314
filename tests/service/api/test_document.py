"""The OpenAPI document says who may call, what can be answered, and what follows from that."""

from typing import Any

import pytest

from service.app import create_app
from service.errors import STATUS
from service.settings import Settings

# Raised at start, by whatever is no request to a route, or for what only other services' clients
# ask, in the words of those.
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


def test_every_code_there_is_can_be_the_answer_of_some_route() -> None:
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


def test_no_route_promises_the_errors_of_the_framework() -> None:
    made = document()
    assert "HTTPValidationError" not in made["components"]["schemas"]
    assert "HTTPValidationError" not in str(made["paths"])


def test_a_key_is_asked_for_except_by_what_tells_how_the_service_is() -> None:
    made = document()
    assert made["security"] == [{"bearer": []}, {"header": []}]
    open_to_all = {name for name, found in operations(made).items() if found.get("security") == []}
    assert open_to_all == {"livez", "readyz", "metrics"}


def test_no_key_is_documented_where_none_is_asked_for() -> None:
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
def test_when_to_try_again_is_documented(status: str) -> None:
    headers = operations(document())["embed"]["responses"][status]["headers"]
    assert headers["retry-after"]["schema"] == {"type": "integer"}
