"""What a call holds before it is sent."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from service.client import calls
from service.client.call import Call, path
from service.client.errors import NotFound, Refused


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(base_url="http://likeness") as client:
        yield client


def test_the_repr_of_a_call_shows_no_photos_and_no_fields() -> None:
    # The name has no hexadecimal digits, since the random key of the call could contain them.
    call = calls.enroll("joan", b"photo", liveness_token="token")
    assert not {word for word in ("photo'", "joan", "token") if word in repr(call)}


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (("subjects", "ada"), "/subjects/ada"),
        (("subjects", "..", "export"), "/subjects/%2E%2E/export"),
        (("subjects", "a/b c"), "/subjects/a%2Fb%20c"),
        (("subjects", "Ångström"), "/subjects/%C3%85ngstr%C3%B6m"),
    ],
)
def test_a_path_escapes_every_special_character(
    client: httpx.Client, parts: tuple[str, ...], shown: str
) -> None:
    request = Call("GET", path(*parts), lambda response: response).request(client)
    assert request.url.raw_path.decode() == shown


def test_fields_have_the_form_that_the_service_reads() -> None:
    call = calls.enroll(
        "ada",
        b"photo",
        metadata={"from": "here"},
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        accept_quality=True,
        accept_inconsistent=False,
    )
    assert call.fields == {
        "subject": "ada",
        "metadata": '{"from": "here"}',
        "expires_at": "2030-01-01T00:00:00+00:00",
        "accept_quality": "true",
    }


def test_a_threshold_of_zero_is_sent() -> None:
    assert calls.verify_pair(b"a", b"b", threshold=0.0).fields == {"threshold": "0.0"}


def test_an_excused_error_is_converted_like_an_answer(client: httpx.Client) -> None:
    def nobody(refused: Refused) -> str:
        assert isinstance(refused, NotFound)
        return "nobody"

    call = Call("GET", "/", lambda response: response.text).excused(nobody).then(len)
    request = call.request(client)
    assert call.answer(httpx.Response(200, text="ada", request=request)) == 3
    assert call.answer(httpx.Response(404, request=request)) == 6
