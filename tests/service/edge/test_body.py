import base64
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, Self

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from service.edge.body import Fields, parse, read_fields
from service.errors import ClientGone, InvalidRequest, ServiceError, UnsupportedBody
from service.schemas.requests import ImageBytes
from service.settings import Settings
from tests.service.asgi_client import Client

PHOTO = b"\xff\xd8\xff\xe0 a photo \x00\x01"
BASE64 = base64.b64encode(PHOTO).decode()
SETTINGS = Settings(max_images=3)


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    image: list[ImageBytes] = Field(min_length=1, description="photos")
    subject: str | None = Field(None, max_length=8, examples=["ada"])
    first: ImageBytes | None = Field(None, validation_alias=AliasChoices("first", "img1"))
    metadata: dict[str, str] | None = None
    strict: bool = True
    limit: int = Field(5, ge=1, le=9)
    threshold: float | None = Field(None, ge=-1, le=1)
    output: Literal["vector", "features"] = "vector"
    expires_at: datetime | None = None

    @model_validator(mode="after")
    def agree(self) -> Self:
        if self.subject == "nobody":
            raise ValueError("nobody has no face")
        return self


Files = list[tuple[str, tuple[str | None, str | bytes, str] | tuple[str | None, str | bytes]]]


async def read(content: bytes, content_type: str | None, query: bytes = b"") -> Form:
    client = Client(query=query)
    if content_type is not None:
        client.headers["content-type"] = content_type
    # In pieces, as a network would.
    step = max(7, len(content) // 1000)
    for start in range(0, len(content), step):
        client.body(content[start : start + step], more=True)
    client.body(b"")
    return parse(await read_fields(Request(client.scope, client.receive), SETTINGS), Form)


async def form(*parts: tuple[str, str | bytes]) -> Form:
    """Send text as text parts and bytes as files."""
    files: Files = [
        (name, (None if isinstance(value, str) else "a.jpg", value)) for name, value in parts
    ]
    request = httpx.Request("POST", "http://test", files=files)
    return await read(request.read(), request.headers["content-type"])


async def sent(value: object) -> Form:
    return await read(json.dumps(value).encode(), "application/json")


async def bare(photo: bytes, query: str | bytes = "", content_type: str = "image/jpeg") -> Form:
    """Send a photo as the body, and the rest as a query."""
    return await read(photo, content_type, query if isinstance(query, bytes) else query.encode())


async def refusal(content: bytes, content_type: str | None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await read(content, content_type)
    return caught.value


async def test_form_and_json_give_the_very_same() -> None:
    from_form = await form(
        ("image", PHOTO),
        ("subject", "ada"),
        ("img1", PHOTO),
        ("metadata", '{"from": "here"}'),
        ("strict", "false"),
        ("limit", "3"),
        ("threshold", "0.5"),
        ("output", "features"),
        ("expires_at", "2030-01-01T00:00:00Z"),
    )
    from_json = await sent(
        {
            "image": BASE64,
            "subject": "ada",
            "img1": BASE64,
            "metadata": {"from": "here"},
            "strict": False,
            "limit": 3,
            "threshold": 0.5,
            "output": "features",
            "expires_at": "2030-01-01T00:00:00Z",
        }
    )
    assert from_form == from_json


async def test_bare_photo_with_a_query_gives_the_same_as_a_form() -> None:
    from_form = await form(
        ("image", PHOTO),
        ("subject", "ada"),
        ("metadata", '{"from": "here"}'),
        ("strict", "false"),
        ("limit", "3"),
        ("threshold", "-0.5"),
        ("output", "features"),
        ("expires_at", "2030-01-01T00:00:00Z"),
    )
    from_query = await bare(
        PHOTO,
        "subject=ada&metadata=%7B%22from%22%3A+%22here%22%7D&strict=false&limit=3"
        "&threshold=-0.5&output=features&expires_at=2030-01-01T00:00:00Z",
    )
    assert from_form == from_query


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "IMAGE/PNG; charset=binary",
        "image/x-never-heard-of",
        "image/*",
        "application/octet-stream",
    ],
)
async def test_body_that_says_it_is_an_image_is_one_photo(content_type: str) -> None:
    assert (await bare(PHOTO, content_type=content_type)).image == [PHOTO]


async def test_bare_photo_that_looks_like_a_form_is_still_a_photo() -> None:
    body = PART + b"--b--\r\n"
    assert (await bare(body, content_type="image/jpeg; boundary=b")).image == [body]


async def test_bare_photo_is_never_taken_for_base64() -> None:
    assert (await bare(BASE64.encode())).image == [BASE64.encode()]


async def test_empty_bare_photo_is_left_to_the_decoder() -> None:
    assert (await bare(b"")).image == [b""]


async def test_image_in_the_query_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="image: Is the body of this request"):
        await bare(PHOTO, "image=" + BASE64)


async def test_unknown_query_parameter_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="subjet: There is no such field"):
        await bare(PHOTO, "subjet=ada")


async def test_repeated_query_parameter_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="limit: Is given more than once"):
        await bare(PHOTO, "limit=1&limit=1")


async def test_wrong_query_parameter_is_named() -> None:
    with pytest.raises(InvalidRequest, match="limit: Input should be less than or equal to 9"):
        await bare(PHOTO, "limit=99")


async def test_empty_field_of_a_query_or_a_form_counts_as_left_out() -> None:
    plain = await form(("image", PHOTO))
    assert await bare(PHOTO, "limit=&subject=") == plain
    assert await form(("image", PHOTO), ("limit", ""), ("subject", ""), ("subject", "")) == plain


@pytest.mark.parametrize("query", [b"subject=%C3%A9", "subject=é".encode()])
async def test_query_is_utf8_escaped_or_not(query: bytes) -> None:
    assert (await bare(PHOTO, query)).subject == "é"


@pytest.mark.parametrize("query", [b"subject=%ff", b"subject=\xff", b"%ff=1", b"subject=%ed%a0%80"])
async def test_query_that_is_not_utf8_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid UTF-8"):
        await bare(PHOTO, query)


async def test_too_many_query_parameters_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 32 parameters"):
        await bare(PHOTO, "x=1&" * 33)


async def test_query_beside_a_form_is_not_read() -> None:
    got = await read(PART + b"--b--\r\n", FORM, b"limit=3")
    assert got.limit == 5


async def test_false_of_a_form_is_false() -> None:
    assert (await form(("image", PHOTO), ("strict", "false"))).strict is False


async def test_date_of_a_form_is_a_date() -> None:
    got = await form(("image", PHOTO), ("expires_at", "2030-01-01T00:00:00Z"))
    assert got.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


async def test_repeated_image_is_a_list() -> None:
    assert (await form(("image", b"1"), ("image", b"2"))).image == [b"1", b"2"]


async def test_json_image_may_be_a_list() -> None:
    assert (await sent({"image": [BASE64, BASE64]})).image == [PHOTO, PHOTO]


async def test_data_uri_is_read() -> None:
    assert (await sent({"image": f"data:image/jpeg;base64,{BASE64}"})).image == [PHOTO]


@pytest.mark.parametrize("text", ["", "data:image/jpeg;base64,"])
async def test_base64_of_nothing_is_an_empty_file(text: str) -> None:
    assert (await sent({"image": text})).image == [b""]


async def test_base64_is_read_from_a_text_part() -> None:
    assert (await form(("image", BASE64))).image == [PHOTO]


async def test_photo_without_a_file_name_is_bytes() -> None:
    files: Files = [("image", (None, PHOTO, "image/jpeg"))]
    request = httpx.Request("POST", "http://test", files=files)
    got = await read(request.read(), request.headers["content-type"])
    assert got.image == [PHOTO]


async def test_object_in_a_form_may_say_that_it_is_json() -> None:
    files: Files = [
        ("image", ("a.jpg", PHOTO)),
        ("metadata", (None, b'{"a": "b"}', "application/json")),
    ]
    request = httpx.Request("POST", "http://test", files=files)
    got = await read(request.read(), request.headers["content-type"])
    assert got.metadata == {"a": "b"}


@pytest.mark.parametrize("send", [lambda photo: form(("image", photo)), bare])
async def test_photo_never_touches_a_file(send: Callable[[bytes], Awaitable[Form]]) -> None:
    opened: list[object] = []
    watching = False

    def hook(event: str, args: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append(args[0])

    sys.addaudithook(hook)  # stays, and sleeps after this test
    watching = True
    got = await send(b"x" * 2**21)
    watching = False
    assert (len(got.image[0]), opened) == (2**21, [])


def test_too_large_an_image_is_left_to_the_decoder() -> None:
    # One of many images that is too large fails alone, with a status of its own.
    huge = b"x" * (SETTINGS.max_bytes + 1)
    assert parse(Fields({"image": [huge]}, 1), Form).image == [huge]


@pytest.mark.parametrize(
    "given",
    [
        "http://10.0.0.1/a.jpg",
        "file:///etc/passwd",
        "/etc/passwd",
        "C:\\a.jpg",
        "../a.jpg",
        BASE64[:-1],
        BASE64 + "\n" + BASE64,
        "é" + BASE64,
        BASE64 + "====",
    ],
)
async def test_only_bytes_are_accepted(given: str) -> None:
    with pytest.raises(InvalidRequest, match="Send the bytes of the image"):
        await sent({"image": given})


async def test_url_in_a_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="URLs and paths are not accepted"):
        await form(("image", "http://10.0.0.1/a.jpg"))


async def test_data_uri_without_base64_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=";base64"):
        await sent({"image": "data:image/jpeg,abc"})


@pytest.mark.parametrize("given", [1, True, {"a": 1}, [[BASE64]], None])
async def test_image_of_another_type_is_refused(given: object) -> None:
    with pytest.raises(InvalidRequest):
        await sent({"image": given})


async def test_refusal_never_repeats_the_value() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await sent({"image": BASE64 + "!", "subject": "hunter2hunter2"})
    told = caught.value.sentence + str(caught.value.errors)
    assert not any(secret in told for secret in (BASE64, "hunter2"))


async def test_every_wrong_field_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await sent({"image": "!", "limit": 99, "output": "x"})
    assert [error.field for error in caught.value.errors] == ["image.0", "limit", "output"]


async def test_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequest, match="image: Field required"):
        await sent({})


async def test_rule_over_several_fields_speaks_for_itself() -> None:
    with pytest.raises(InvalidRequest, match=r"^body: nobody has no face\."):
        await sent({"image": BASE64, "subject": "nobody"})


@pytest.mark.parametrize("name", ["imgae", "é", "", "x" * 5000])
async def test_unknown_field_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="There is no such field"):
        await sent({"image": BASE64, name: 1})


async def test_unknown_field_of_a_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="imgae: There is no such field"):
        await form(("image", PHOTO), ("imgae", PHOTO))


async def test_repeated_scalar_of_a_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="limit: Is given more than once"):
        await form(("image", PHOTO), ("limit", "1"), ("limit", "2"))


async def test_field_and_its_alias_are_one_field() -> None:
    with pytest.raises(InvalidRequest, match="img1: Is given more than once"):
        await form(("image", PHOTO), ("first", PHOTO), ("img1", PHOTO))


async def test_name_given_twice_in_json_is_refused() -> None:
    error = await refusal(b'{"limit": 1, "limit": 2}', "application/json")
    assert error.code == "invalid_request"


async def test_too_many_images_of_a_form_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="image: Holds 4 items, at most 3"):
        await form(*[("image", PHOTO)] * 4)


async def test_too_many_images_of_json_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="image: Holds 4 items, at most 3"):
        await sent({"image": [BASE64] * 4})


async def test_too_many_parts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 35 parts"):
        await form(*[("x", "")] * 36)


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 100_000, '{"a":' * 100_000, '{"a": "b"} x', "nul", '{"a": 1}']
)
async def test_object_of_a_form_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        await form(("image", PHOTO), ("metadata", text))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{\x00}\x00",
        b'{"subject": "\xff"}',
        b'{"limit": NaN}',
        b'{"limit": -Infinity}',
        b'{"threshold": 1e999}',
        b'{"limit": ' + b"9" * 5000 + b"}",
        b'{"image": ' + b"[" * 100_000,
        b'{"image": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a":' * 100_000,
        b'{"subject": "\\ud800", "image": "AAAA"}',
        b'{"metadata": {"\\ud800": "x"}, "image": "AAAA"}',
    ],
    ids=range(16),
)
async def test_broken_json_is_an_invalid_request(body: bytes) -> None:
    assert (await refusal(body, "application/json")).code == "invalid_request"


async def test_json_may_start_with_a_byte_order_mark() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"image": BASE64}).encode()
    assert (await read(body, "application/json; charset=UTF-8")).image == [PHOTO]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "image",
        "image/",
        "imagery/jpeg",
        "application/octet-streams",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "multipart/mixed; boundary=x",
        ";;;",
        "application/json\x00",
    ],
)
async def test_other_bodies_are_not_supported(content_type: str | None) -> None:
    assert (await refusal(b"{}", content_type)).code == "unsupported_body"


async def test_compressed_body_is_not_supported() -> None:
    client = Client(headers={"content-type": "application/json", "content-encoding": "gzip"})
    with pytest.raises(UnsupportedBody):
        await read_fields(Request(client.scope, client.receive), SETTINGS)


PART = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n'
FORM = "multipart/form-data; boundary=b"


async def test_smallest_form_is_read() -> None:
    assert (await read(PART + b"--b--\r\n", FORM)).image == [b"x"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"no form at all", FORM),
        (PART, FORM),
        (PART[:-3], FORM),
        (PART[:20], FORM),
        (PART + b"--b--\r\n", "multipart/form-data; boundary=other"),
        (PART + b"--b--\r\n", "multipart/form-data"),
        (PART + b"--b--\r\n", "multipart/form-data; boundary="),
        (PART + b"--b--\r\n", f"multipart/form-data; boundary={'b' * 5000}"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", FORM),
        (b'--b\r\ncontent-disposition: form-data; name=""\r\n\r\nx\r\n--b--\r\n', FORM),
        (b'--b\r\ncontent-disposition: attachment; name="image"\r\n\r\nx\r\n--b--', FORM),
        (b"--b\r\nx-long: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n", FORM),
        (b"--b\r\n" + b"x-many: 1\r\n" * 1000 + b"\r\nx\r\n--b--\r\n", FORM),
        (b"--b\r\nb\xc3\xa4d: 1\r\n\r\nx\r\n--b--\r\n", FORM),
        (b"--b--\r\n", FORM),
    ],
    ids=range(16),
)
async def test_broken_form_is_an_invalid_request(body: bytes, content_type: str) -> None:
    assert (await refusal(body, content_type)).code == "invalid_request"


async def test_form_is_read_wherever_it_is_cut() -> None:
    body = PART.replace(b"\r\nx\r\n", b"\r\n\r\n--\r\n-b\r\n") + b"--b--\r\n"
    for cut in range(1, len(body)):
        client = Client(headers={"content-type": FORM})
        client.body(body[:cut], more=True)
        client.body(body[cut:])
        fields = await read_fields(Request(client.scope, client.receive), SETTINGS)
        assert fields.values == {"image": [b"\r\n--\r\n-b"]}


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([FORM, "application/json"]))
async def test_noise_is_never_more_than_an_invalid_request(noise: bytes, kind: str) -> None:
    body = PART[:60] + noise + b"\r\n--b--\r\n" if kind == FORM else b'{"image": ' + noise
    with suppress(InvalidRequest):
        await read(body, kind)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
async def test_noise_in_a_query_is_never_more_than_an_invalid_request(noise: bytes) -> None:
    with suppress(InvalidRequest):
        await bare(PHOTO, b"subject=" + noise)


async def test_client_that_leaves_while_sending_is_gone() -> None:
    client = Client(headers={"content-type": FORM})
    client.body(PART, more=True)
    client.hang_up()
    with pytest.raises(ClientGone):
        await read_fields(Request(client.scope, client.receive), SETTINGS)


async def test_client_that_leaves_while_sending_a_bare_photo_is_gone() -> None:
    client = Client(headers={"content-type": "image/jpeg"})
    client.body(PHOTO, more=True)
    client.hang_up()
    with pytest.raises(ClientGone):
        await read_fields(Request(client.scope, client.receive), SETTINGS)
