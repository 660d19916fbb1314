"""JSON values keep their types, and values in text are parsed."""

from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from service.edge.body import Fields, parse
from service.errors import InvalidRequest
from service.schemas.requests import EnrollRequest, IdentifyRequest, NewKeyRequest, VerifyRequest


def fields(values: dict[str, JsonValue], *, are_text: bool) -> Fields:
    given: dict[str, list[JsonValue | bytes]] = {name: [value] for name, value in values.items()}
    return Fields(given | {"image": [b"a photo"]}, 1, are_text)


def identify(*, are_text: bool = False, **values: JsonValue) -> IdentifyRequest:
    return parse(fields(values, are_text=are_text), IdentifyRequest)


def enroll(*, are_text: bool = False, **values: JsonValue) -> EnrollRequest:
    return parse(fields({"subject": "ada", **values}, are_text=are_text), EnrollRequest)


@pytest.mark.parametrize("threshold", [True, "0.5", [0.5]])
def test_json_value_of_another_type_is_refused_as_a_number(threshold: JsonValue) -> None:
    with pytest.raises(InvalidRequest, match="threshold"):
        identify(threshold=threshold)


def test_number_in_text_is_parsed() -> None:
    form = identify(threshold="0.5", limit="7", are_text=True)
    assert (form.threshold, form.limit) == (0.5, 7)


def test_whole_number_in_json_may_have_a_decimal_point() -> None:
    assert identify(limit=7.0).limit == 7
    assert NewKeyRequest(name="shop", scopes=["verify"], at_once=4.0).at_once == 4  # type: ignore[arg-type]


def test_fraction_is_refused_as_a_whole_number() -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        identify(limit=7.5)


@pytest.mark.parametrize("are_text", [False, True])
def test_time_is_parsed_from_json_and_from_text(are_text: bool) -> None:
    form = enroll(expires_at="2030-01-01T00:00:00Z", are_text=are_text)
    assert form.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("moment", "are_text"), [(1893456000, False), ("1893456000", True)])
def test_number_is_refused_as_a_time(moment: JsonValue, are_text: bool) -> None:
    with pytest.raises(InvalidRequest, match="expires_at: Give a time with its zone"):
        enroll(expires_at=moment, are_text=are_text)


def test_rules_between_fields_are_documented() -> None:
    assert EnrollRequest.model_json_schema()["not"]["required"] == ["template_id"]
    assert [each["required"] for each in VerifyRequest.model_json_schema()["oneOf"]] == [
        ["image", "subject"],
        ["source_image", "target_image"],
    ]
