"""Bodies made to cost more than they weigh get their problem, soon and in little memory."""

import tracemalloc
from time import process_time

import pytest
from starlette.requests import Request

from service.edge.body import parse, read_fields
from service.errors import InvalidRequest, ServiceError
from service.schemas.requests import EnrollRequest
from service.settings import Settings
from tests.service.asgi_client import Client

BYTES = 32 * 2**20
CHUNK = 2**16
FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
FILE = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
# Reading what is good takes this long on a slow machine; what is bad must not take longer.
SECONDS = 4.0


async def refusal(body: bytes, content_type: str) -> ServiceError:
    client = Client(headers={"content-type": content_type})
    for start in range(0, len(body), CHUNK):
        client.body(body[start : start + CHUNK], more=True)
    client.body(b"")
    request = Request(client.scope, client.receive)
    with pytest.raises(ServiceError) as caught:
        parse(await read_fields(request, Settings()), EnrollRequest)
    return caught.value


def filled(head: bytes, unit: bytes, tail: bytes = b"") -> bytes:
    return head + unit * ((BYTES - len(head) - len(tail)) // len(unit)) + tail


FORMS = {
    "blanks behind a delimiter": filled(FILE + b"x\r\n--b", b" "),
    "what begins like a delimiter": filled(FILE, b"\r\n--bX"),
    "lines before the first part": filled(b"", b"\r\n"),
    "text before the first part": filled(b"x", b"preamble\r\n"),
    "parts of nothing": filled(b"", FILE + b"\r\n"),
    "an endless part": filled(FILE, b"\r\n--"),
    "an endless header": filled(b"--b\r\nx: ", b"a"),
    "an endless name of a header": filled(b"--b\r\n", b"a"),
    "endless headers": filled(b"--b\r\n", b"a: b\r\n"),
    "an endless name of a field": filled(b'--b\r\ncontent-disposition: form-data; name="', b"a"),
    "a form in a form": FILE.replace(b'"a"', b'"a"\r\ncontent-type: multipart/mixed; boundary=c')
    + b"--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
    "text in another alphabet": b'--b\r\ncontent-disposition: form-data; name="subject"\r\n'
    b"content-type: text/plain; charset=utf-16\r\n\r\n\xff\xfea\0\r\n--b--\r\n",
    "one field twice": FILE.replace(b'"image"; filename="a"', b'"subject"') * 2 + b"--b--\r\n",
    "a long text": filled(FILE.replace(b'"image"; filename="a"', b'"subject"'), b"a", b"\r\n--b--"),
}
VALUES = {
    "lists": filled(b'{"image":[', b"[],", b"1]}"),
    "objects": filled(b'{"image":[', b"{},", b"1]}"),
    "numbers": filled(b'{"image":[', b"1,", b"1]}"),
    "long numbers": filled(b'{"image":[', b"9" * 4200 + b",", b"1]}"),
    "one number": filled(b'{"image":', b"9", b"}"),
    "unknown names": b"{" + b",".join(b'"%d":1' % at for at in range(9000)) + b"}",
    "notes": filled(b'{"subject":"a","image":"AAAA","metadata":{"a":"', b"a", b'"}}'),
    "a name of a note": filled(b'{"subject":"a","image":"AAAA","metadata":{"', b"a", b'":"a"}}'),
    "half a character": b'{"subject":"\\ud800","image":"AAAA"}',
    "no numbers": b'{"subject":"a","image":"AAAA","metadata":NaN}',
    "text that is no photo": filled(b'{"subject":"a","image":"', b"\\u00e9", b'"}'),
}


@pytest.mark.parametrize(
    ("body", "kind"),
    [(body, FORM) for body in FORMS.values()] + [(body, JSON) for body in VALUES.values()],
    ids=[*FORMS, *VALUES],
)
async def test_body_that_is_more_work_than_it_looks_is_refused_in_time(
    body: bytes, kind: str
) -> None:
    started = process_time()
    error = await refusal(body, kind)
    assert isinstance(error, InvalidRequest)
    assert process_time() - started < SECONDS
    # What is told is told briefly, however much was wrong.
    assert len(error.sentence) < 500
    assert len(error.errors) <= 32


async def test_json_unfolds_to_no_more_than_it_weighs() -> None:
    body = VALUES["lists"]
    tracemalloc.start()
    try:
        await refusal(body, JSON)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()


async def test_empty_file_part_is_left_to_the_decoder() -> None:
    client = Client(headers={"content-type": FORM})
    subject = b'--b\r\ncontent-disposition: form-data; name="subject"\r\n\r\na\r\n'
    client.body(subject + FILE + b"\r\n--b--\r\n")
    fields = await read_fields(Request(client.scope, client.receive), Settings())
    assert parse(fields, EnrollRequest).image == [b""]
