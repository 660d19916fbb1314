"""Draw invalid requests: with a wrong body, a wrong head, or a wrong length."""

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Literal, get_args

import httpx
from hypothesis import strategies as st

from service.schemas.requests import (
    EmbedRequest,
    EnrollRequest,
    IdentifyRequest,
    NewKeyRequest,
    VerifyRequest,
)
from tests.images import encode, noise
from tests.tools.reliability.mutations import bent
from tests.tools.reliability.samples import faces

Fault = Literal["none", "body", "type", "json", "query", "head", "length", "chunks"]

_BOUNDARY = "multipart/form-data; boundary=edge"
_HOST = b"host: 127.0.0.1\r\n"
_TYPES = (
    b"",
    b"application/json",
    b"application/json; charset=utf-16",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"e" * 300,
    b'multipart/form-data; boundary="edge',
    b"multipart/mixed; boundary=edge",
    b"image/jpeg",
    b"image/",
    b"text/plain",
    b"application/octet-stream; x=\xff",
    b";;;=;",
)
_QUERIES = (
    b"",
    b"?subject=ada&output=features&limit=5",
    b"?metadata=%7B%22a%22%3A1%7D&policy=largest",
    b"?subject=%ff%fe&subject=a",
    b"?limit=-1&after=%00",
    b"?expires_at=9999-12-31T23:59:59Z&threshold=nan",
)
_FIELDS = sorted(
    {
        name
        for model in (EnrollRequest, VerifyRequest, IdentifyRequest, EmbedRequest, NewKeyRequest)
        for name in model.model_fields
    }
)
_PATHS = ("/enroll", "/verify", "/identify", "/embed", "/change/reembed", "/keys", "/change/switch")


@dataclass(frozen=True, slots=True)
class Wire:
    """Hold the bytes of a request; `whole` is true if its head is valid and its length right.

    A whole request must be answered, and its connection must serve the next request.
    """

    data: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class _ValidRequest:
    """Hold a valid request."""

    path: bytes
    content_type: bytes
    body: bytes


def _valid(path: str, **content: object) -> _ValidRequest:
    headers = {"content-type": _BOUNDARY} if "files" in content else {}
    request = httpx.Request("POST", f"http://127.0.0.1{path}", headers=headers, **content)  # type: ignore[arg-type]
    return _ValidRequest(path.encode(), request.headers["content-type"].encode(), request.read())


def _sound_requests() -> list[_ValidRequest]:
    photo, plain = faces()["JPEG"], encode(noise(32, 32), "PNG")
    text = b64encode(photo).decode()
    file = ("a.jpg", photo, "image/jpeg")
    found = [
        _valid("/enroll", data={"subject": "ada", "metadata": '{"a": "b"}'}, files={"image": file}),
        _valid("/enroll", json={"subject": "ada", "image": [text], "template_id": "one"}),
        _valid("/verify", data={"subject": "ada"}, files={"image": file}),
        _valid("/verify", files={"source_image": plain, "target_image": file}),
        _valid("/verify", json={"img1": text, "img2": f"data:image/jpeg;base64,{text}"}),
        _valid("/identify", json={"image": text, "limit": 3, "threshold": 0.5}),
        _valid("/embed", files=[("image", plain), ("image", file)]),
        _valid("/keys", json={"name": "shop", "scopes": ["verify"], "per_s": 1.5}),
        _valid("/change/switch", json={"fingerprint": "0" * 64, "accept_missing": True}),
    ]
    return [
        *found,
        *(_ValidRequest(b"/embed", b"image/jpeg", image) for image in faces(64).values()),
    ]


def _json_values() -> st.SearchStrategy[object]:
    numbers = st.one_of(st.integers(), st.floats())
    odd = st.sampled_from(["\ud800", "\x00", "9" * 5000, "data:,", "=" * 64, 10**400])
    leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20), odd)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=8,
    )


def _json_bodies() -> st.SearchStrategy[bytes]:
    names = st.one_of(st.sampled_from(_FIELDS), st.text(max_size=8))
    return st.dictionaries(names, _json_values(), max_size=6).map(lambda v: json.dumps(v).encode())


@st.composite
def requests(draw: st.DrawFn, sound: list[_ValidRequest], bodies: list[bytes]) -> Wire:
    """Draw a request with one fault or none."""
    base = draw(st.sampled_from(sound))
    path, kind, body = base.path, base.content_type, base.body
    fault = draw(st.sampled_from(get_args(Fault)))
    match fault:
        case "body":
            body = draw(bent([base.body, *bodies], kept=8))
        case "type":
            kind = draw(st.sampled_from(_TYPES))
        case "json":
            path, kind = draw(st.sampled_from(_PATHS)).encode(), b"application/json"
            body = draw(_json_bodies())
        case "query":
            path += draw(st.sampled_from(_QUERIES))
            kind = b"image/jpeg"
    length = b"content-length: %d" % len(body)
    match fault:
        case "length":
            length = b"content-length: " + draw(
                st.sampled_from((b"0", b"-1", b"7", b"99999999999", b"1e3", b"\xb2", b"5, 5"))
            )
        case "chunks":
            length = b"transfer-encoding: chunked"
            body = draw(bent([_chunked(body[:5000])]))
    head = b"POST %b HTTP/1.1\r\n%bcontent-type: %b\r\n%b\r\n\r\n" % (path, _HOST, kind, length)
    if fault == "head":
        head = draw(bent([head, head.replace(b"POST", b"GET"), head.replace(b"1.1", b"1.0")]))
    return Wire(head + body, whole=fault not in ("head", "length", "chunks"))


def _chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def request_lists(size: int) -> st.SearchStrategy[list[Wire]]:
    """Draw the requests that are sent at the same time."""
    sound = _sound_requests()
    return st.lists(requests(sound, [each.body for each in sound]), min_size=size, max_size=size)
