"""What the requests of a client contain."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser

import httpx
import pytest

from service.client import Likeness, NotFound, Refused
from service.client.requests import path


class Recorder:
    """Record each request, and answer it with an error."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(404, request=request)

    def client(self) -> Likeness:
        return Likeness("http://likeness", transport=httpx.MockTransport(self))

    @property
    def fields(self) -> Mapping[str, object]:
        """Return the form fields of the only request; a photo is bytes."""
        (request,) = self.requests
        head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser().parsebytes(head + request.content)
        return {
            str(part.get_param("name", header="content-disposition")): _value(part)
            for part in form.walk()
            if not part.is_multipart()
        }


def _value(part: Message) -> object:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode() if part.get_filename() is None else content


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (("subjects", "ada"), "/subjects/ada"),
        (("subjects", "..", "export"), "/subjects/%2E%2E/export"),
        (("subjects", "a/b c"), "/subjects/a%2Fb%20c"),
        (("subjects", "Ångström"), "/subjects/%C3%85ngstr%C3%B6m"),
    ],
)
def test_a_path_escapes_every_special_character(parts: tuple[str, ...], shown: str) -> None:
    assert httpx.Request("GET", f"http://likeness{path(*parts)}").url.raw_path.decode() == shown


def test_a_name_is_escaped_in_the_path_that_is_sent() -> None:
    service = Recorder()
    with service.client() as client, pytest.raises(NotFound):
        client.export("..")
    assert service.requests[0].url.raw_path == b"/subjects/%2E%2E/export"


def test_fields_have_the_form_that_the_service_reads() -> None:
    service = Recorder()
    with service.client() as client, pytest.raises(Refused):
        client.enroll(
            "ada",
            b"photo",
            metadata={"from": "here"},
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
            accept_quality=True,
            accept_inconsistent=False,
        )
    assert service.fields == {
        "subject": "ada",
        "metadata": '{"from": "here"}',
        "expires_at": "2030-01-01T00:00:00+00:00",
        "accept_quality": "true",
        "image": b"photo",
    }


def test_a_threshold_of_zero_is_sent() -> None:
    service = Recorder()
    with service.client() as client, pytest.raises(Refused):
        client.verify_pair(b"a", b"b", threshold=0.0)
    assert service.fields == {"threshold": "0.0", "source_image": b"a", "target_image": b"b"}
