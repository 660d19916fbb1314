import pytest

from service.api.rows import preferred
from service.errors import NotAcceptable

JSON, ROWS = "application/json", "application/octet-stream"


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json",
        "application/json, */*",
        "text/html, application/xhtml+xml, */*;q=0.8",
        "application/json, application/octet-stream",
        "application/octet-stream, application/json",
        "application/octet-stream;q=0.9, application/json",
        "application/octet-stream;q=0.5, */*",
        "application/octet-stream;q=0, */*",
        "application/octet-stream;q=0, application/json;q=0.001",
        "application/json;charset=utf-8",
    ],
)
def test_json_is_preferred(accept: str) -> None:
    assert preferred(accept, (JSON, ROWS)) == JSON


@pytest.mark.parametrize(
    "accept",
    [
        "application/octet-stream",
        "Application/Octet-Stream ; Q=0.1",
        "application/octet-stream, */*",
        "application/octet-stream;q=0.5, application/*;q=0.5",
        "application/octet-stream, application/json;q=0.9",
        "application/json;q=0.5, application/octet-stream;q=0.501",
        "application/json;q=0, */*",
        "text/html, application/octet-stream",
    ],
)
def test_rows_are_preferred(accept: str) -> None:
    assert preferred(accept, (JSON, ROWS)) == ROWS


@pytest.mark.parametrize("accept", ["*/*;q=0, application/json", "application/json, */*;q=0"])
def test_what_is_named_exactly_counts_more_than_a_wildcard(accept: str) -> None:
    assert preferred(accept, (JSON, ROWS)) == JSON


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/*",
        "*/*;q=0",
        "application/*;q=0",
        "application/json;q=0",
        "application/json;q=0, application/octet-stream;q=0.000",
    ],
)
def test_what_allows_no_offer_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json, application/octet-stream"):
        preferred(accept, (JSON, ROWS))


@pytest.mark.parametrize(
    "accept",
    [
        ",",
        ";;;",
        "json",
        "application/octet-stream;q=2",
        "application/octet-stream;q=nan",
        "application/octet-stream;q=-1",
        "application/octet-stream;q=",
        "application/octet-stream;q=1e0",
    ],
)
def test_malformed_ranges_are_as_good_as_none(accept: str) -> None:
    assert preferred(accept, (JSON, ROWS)) == JSON
