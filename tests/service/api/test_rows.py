import numpy as np
import pytest
from fastapi import Response
from numpy.typing import NDArray

from models.errors import NoFace, NotAnImage
from service.api.rows import preferred_type, rows_document, rows_response
from service.errors import NotAcceptable
from service.recognition.render import problem_answer
from service.schemas.recognition import EmbedAnswer, EmbeddedImage

# 0.1 is another number in float64 than in float32.
FIRST = np.array([0.1, -0.2, 0.3], np.float32)
SECOND = np.array([1e-30, 7, -0.0], np.float32)


def image(at: int, numbers: NDArray[np.float32]) -> EmbeddedImage:
    return EmbeddedImage(image=at, status="embedded", vector=numbers.tolist())


def failed(at: int, error: NoFace | NotAnImage) -> EmbeddedImage:
    return EmbeddedImage(image=at, status="failed", problem=problem_answer(error))


def answer(*images: EmbeddedImage) -> Response:
    return rows_response(
        EmbedAnswer(images=list(images), output="vector", dimension=3, fingerprint="f00d")
    )


def test_body_is_the_float32_values_and_nothing_else() -> None:
    assert answer(image(0, FIRST)).body == FIRST.astype("<f4").tobytes()


def test_rows_follow_each_other_in_the_order_of_the_images() -> None:
    body = answer(image(0, FIRST), image(1, SECOND)).body
    assert np.frombuffer(body, "<f4").tolist() == [*FIRST.tolist(), *SECOND.tolist()]


def test_headers_say_how_to_read_the_body() -> None:
    headers = dict(answer(image(0, FIRST), image(1, SECOND)).headers)
    assert headers == {
        "content-type": "application/octet-stream",
        "content-length": "24",
        "x-likeness-rows": "2",
        "x-likeness-dimension": "3",
        "x-likeness-output": "vector",
        "x-likeness-fingerprint": "f00d",
    }


def test_failed_image_keeps_its_row_as_nan() -> None:
    body = answer(image(0, FIRST), failed(1, NoFace("x")), image(2, SECOND)).body
    rows = np.frombuffer(body, "<f4").reshape(3, 3)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]


def test_rows_after_a_failed_one_are_not_shifted() -> None:
    body = answer(failed(0, NoFace("x")), image(1, SECOND)).body
    assert np.frombuffer(body, "<f4").reshape(2, 3)[1].tolist() == SECOND.tolist()


def test_failed_images_are_listed_with_their_codes() -> None:
    response = answer(failed(0, NoFace("x")), image(1, FIRST), failed(2, NotAnImage("x")))
    assert response.headers["x-likeness-failed"] == "0:no_face,2:not_an_image"


def test_every_header_is_documented() -> None:
    sent = answer(image(0, FIRST), failed(1, NoFace("x"))).headers
    documented = rows_document()["headers"]
    assert isinstance(documented, dict)
    assert {name for name in sent if name.startswith("x-")} == set(documented)


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
    assert preferred_type(accept, (JSON, ROWS)) == JSON


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
    assert preferred_type(accept, (JSON, ROWS)) == ROWS


@pytest.mark.parametrize("accept", ["*/*;q=0, application/json", "application/json, */*;q=0"])
def test_what_is_named_exactly_counts_more_than_a_wildcard(accept: str) -> None:
    assert preferred_type(accept, (JSON, ROWS)) == JSON


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
        preferred_type(accept, (JSON, ROWS))


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
    assert preferred_type(accept, (JSON, ROWS)) == JSON
