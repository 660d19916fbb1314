"""Signatures of AWS's own signer are accepted, and changed requests are refused."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from service.compat.rekognition.signature import check_body, read_signature, verify
from service.edge.keys import KeyRing, make_key, signing_pair
from service.errors import KeyInvalid, KeyMissing, ServiceError
from service.store import Vault, utc_now
from tests.contracts.store.samples import MASTER, OTHER_MASTER
from tests.contracts.store.seal import opened

KEY_ID, SECRET = "lk_0123456789abcdef", "s" * 43
TARGET = "RekognitionService.DetectFaces"
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Sent:
    """Hold a request as it arrives, and the moment that it was signed at."""

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    signed_at: datetime

    def header(self, name: bytes) -> bytes:
        (value,) = [value for each, value in self.headers if each == name]
        return value

    def with_header(self, name: bytes, value: bytes) -> "Sent":
        """Return it with another value of a header, which may be a new one."""
        others = tuple(each for each in self.headers if each[0] != name)
        return replace(self, headers=(*others, (name, value)))


def signed(
    method: str = "POST",
    path: str = "/",
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"{}",
    service: str = "rekognition",
    credentials: tuple[str, str] = (KEY_ID, SECRET),
) -> Sent:
    """Have botocore sign a request, now."""
    url = f"http://localhost:8000{path}{query and '?'}{query}"
    request = AWSRequest(method, url, data=body)
    request.headers["Content-Type"] = JSON
    request.headers["X-Amz-Target"] = TARGET
    for name, value in headers:
        request.headers.add_header(name, value)
    SigV4Auth(Credentials(*credentials), service, "local").add_auth(request)
    return arrived(request, path, query, body)


def arrived(request: AWSRequest, path: str, query: str, body: bytes) -> Sent:
    pairs = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    host = (b"host", b"localhost:8000")
    return Sent(request.method, path.encode(), query.encode(), (host, *pairs), body, moment)


def check(sent: Sent, secret: str = SECRET, late: timedelta = timedelta()) -> str:
    """Check a request as the service does; return the access key id."""
    read = read_signature(sent.headers, sent.query, sent.signed_at + late)
    digest = hashlib.sha256(sent.body).hexdigest()
    check_body(read.body_sha256 or digest, digest)
    verify(read, secret, sent.method, sent.path, sent.query, sent.headers, digest)
    return read.access_key_id


def refusal(sent: Sent, late: timedelta = timedelta()) -> ServiceError:
    with pytest.raises(KeyInvalid) as refused:
        check(sent, late=late)
    return refused.value


def edited(sent: Sent, edit: Callable[[str], str]) -> Sent:
    """Return a request with its Authorization changed."""
    given = sent.header(b"authorization").decode()
    assert edit(given) != given
    return sent.with_header(b"authorization", edit(given).encode())


# What AWS' signer signs

SEGMENTS = st.one_of(st.sampled_from(["", ".", "..", "~", "a+b", "a=b;c,d"]), st.text(max_size=9))
PATHS = st.lists(SEGMENTS.map(lambda text: quote(text, safe="~")), max_size=5).map("/".join)
QUERIES = st.lists(
    st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5)).map(
        lambda pair: "=".join(quote(part, safe="~") for part in pair)
    ),
    max_size=5,
).map("&".join)
# What h11 and httptools let through; botocore has its own opinion about what else is white.
VALUES = st.text(st.sampled_from("aZ09 \t,;:=\"'/~"), max_size=12)
NAMES = st.sampled_from(["X-Amz-Meta", "X-Amz-Meta-2", "Accept", "x-note", "Content-Encoding"])


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=PATHS.map("/{}".format),
    query=QUERIES,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    body=st.binary(max_size=200),
)
def test_whatever_botocore_signs_is_taken(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert check(signed(method, path, query, headers, body)) == KEY_ID


def test_signature_has_the_key_the_time_and_the_scope() -> None:
    sent = signed()
    read = read_signature(sent.headers, sent.query, sent.signed_at)
    assert (read.access_key_id, read.region, read.at) == (KEY_ID, "local", sent.signed_at)
    assert read.headers == (b"content-type", b"host", b"x-amz-date", b"x-amz-target")
    assert read.signature not in repr(read)


def test_folded_header_is_one_line() -> None:
    sent = signed(headers=[("X-Note", "one two")])
    assert check(sent.with_header(b"x-note", b"  one\r\n\t two ")) == KEY_ID


@pytest.mark.parametrize("off", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_clock_may_be_five_minutes_off_and_no_more(off: timedelta) -> None:
    sent = signed()
    assert check(sent, late=off) == KEY_ID
    beyond = off + timedelta(seconds=1 if off > timedelta() else -1)
    assert "more than 5 minutes from" in refusal(sent, beyond).sentence


def test_head_may_state_the_sha256_of_the_body() -> None:
    body = b'{"Image": {}}'
    told = signed(headers=[("X-Amz-Content-Sha256", hashlib.sha256(body).hexdigest())], body=body)
    assert check(told) == KEY_ID


async def test_signature_counts_after_the_master_key_was_rotated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/likeness.db"
    kept, key = make_key("door", ["verify"], None, None, utc_now(), Vault([MASTER]))
    sent = signed(credentials=signing_pair(key))
    async with opened(url, MASTER) as store:
        await store.add_key(kept)
    async with opened(url, OTHER_MASTER, MASTER) as store:
        await store.reseal(10)
    async with opened(url, OTHER_MASTER) as store:
        read = read_signature(sent.headers, sent.query, sent.signed_at)
        _, secret = await KeyRing(store, Vault([OTHER_MASTER])).signer(read.access_key_id)
    check(sent, secret)


# What is another service's

CHANGES: dict[str, Callable[[Sent], Sent]] = {
    "method": lambda sent: replace(sent, method="PUT"),
    "path": lambda sent: replace(sent, path=b"/a"),
    "query": lambda sent: replace(sent, query=b"a=b"),
    "body": lambda sent: replace(sent, body=b"{ }"),
    "target": lambda sent: sent.with_header(b"x-amz-target", b"RekognitionService.DeleteFaces"),
    "host": lambda sent: sent.with_header(b"host", b"localhost:8001"),
    "date": lambda sent: sent.with_header(
        b"x-amz-date", f"{sent.signed_at + timedelta(seconds=1):%Y%m%dT%H%M%SZ}".encode()
    ),
    "type": lambda sent: sent.with_header(b"content-type", JSON.upper().encode()),
    "twice": lambda sent: replace(sent, headers=(*sent.headers, (b"x-amz-target", b"x"))),
    "region": lambda sent: edited(sent, lambda text: text.replace("/local/", "/other/")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_request_that_was_changed_is_refused(change: str) -> None:
    sent = CHANGES[change](signed())
    assert "signature is wrong for this request" in refusal(sent).sentence


@given(data=st.data())
def test_no_byte_of_what_is_signed_may_change(data: st.DataObject) -> None:
    told = [("X-Note", "kept")]
    sent = signed(path="/some/path", query="b=1&a=2", headers=told, body=b'{"a": 1}')
    parts = {"path": sent.path, "query": sent.query, "body": sent.body}
    names = [b"host", b"x-amz-date", b"x-amz-target", b"content-type", b"x-note"]
    parts |= {name.decode(): sent.header(name) for name in names}
    parts["signature"] = sent.header(b"authorization")[-64:]
    part = data.draw(st.sampled_from(sorted(parts)))
    at = data.draw(st.integers(0, len(parts[part]) - 1))
    # No blank, no slash, no dot: those may come and go.
    byte = data.draw(st.sampled_from([code for code in b"xyzXYZ789" if code != parts[part][at]]))
    changed = parts[part][:at] + bytes([byte]) + parts[part][at + 1 :]
    match part:
        case "signature":
            sent = sent.with_header(b"authorization", sent.header(b"authorization")[:-64] + changed)
        case "path":
            sent = replace(sent, path=changed)
        case "query":
            sent = replace(sent, query=changed)
        case "body":
            sent = replace(sent, body=changed)
        case _:
            sent = sent.with_header(part.encode(), changed)
    refusal(sent)


def test_other_secret_is_refused() -> None:
    with pytest.raises(KeyInvalid, match="the secret is wrong"):
        check(signed(), secret="S" + SECRET[1:])


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("UNSIGNED-PAYLOAD", "must be a SHA-256"),
        ("0" * 63, "must be a SHA-256"),
        (hashlib.sha256(b"other").hexdigest(), "not the SHA-256 of the body"),
    ],
)
def test_body_is_always_signed(stated: str, words: str) -> None:
    sent = signed(headers=[("X-Amz-Content-Sha256", stated)])
    assert words in refusal(sent).sentence


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target"])
def test_what_matters_has_to_be_signed(name: str) -> None:
    sent = edited(signed(), lambda text: text.replace(f";{name}", ""))
    assert f"does not cover {name}" in refusal(sent).sentence


def test_signature_for_another_service_is_refused() -> None:
    assert "scope" in refusal(signed(service="s3")).sentence


@pytest.mark.parametrize(
    ("old", "new"),
    [("4_request", "5"), ("/local/", "//"), ("/local/", "/a/b/"), (KEY_ID, ""), ("/20", "/19")],
)
def test_scope_that_is_not_of_the_request_is_refused(old: str, new: str) -> None:
    assert "scope" in refusal(edited(signed(), lambda text: text.replace(old, new, 1))).sentence


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("SHA256", "SHA1"),
        lambda text: "Bearer hunter2",
        lambda text: text.replace("Signature=", "Signatur="),
        lambda text: text.replace("Credential=", "Signature=", 1),
        lambda text: text + ", Signature=" + "0" * 64,
        lambda text: text[:-1],
        lambda text: text[:-1] + "G",
        lambda text: text.replace("content-type;", "", 1).replace("SignedHeaders=", "S=") + "\xff",
    ],
)
def test_authorization_of_another_form_is_refused(edit: Callable[[str], str]) -> None:
    assert "Authorization must be" in refusal(edited(signed(), edit)).sentence


@pytest.mark.parametrize("names", ["x-note;host", "host;host", "Host", "host;never-sent"])
def test_signed_headers_are_sent_sorted_and_named_once(names: str) -> None:
    sent = edited(signed(), lambda text: text.replace("content-type;host", names))
    assert "SignedHeaders must list" in refusal(sent).sentence


@pytest.mark.parametrize("text", [b"", b"now", b"20300101T000000", b"20300101T0000 0Z", b"\xff"])
def test_date_of_another_form_is_refused(text: bytes) -> None:
    assert "x-amz-date must be" in refusal(signed().with_header(b"x-amz-date", text)).sentence


@pytest.mark.parametrize("name", [b"authorization", b"x-amz-date"])
def test_header_that_counts_once_is_sent_once(name: bytes) -> None:
    sent = signed()
    twice = replace(sent, headers=(*sent.headers, (name, sent.header(name))))
    assert "exactly one header" in refusal(twice).sentence


def test_session_tokens_are_not_ours() -> None:
    sent = signed(headers=[("X-Amz-Security-Token", "t")])
    assert "Temporary credentials" in refusal(sent).sentence


def test_request_without_a_signature_says_that_one_is_needed() -> None:
    with pytest.raises(KeyMissing, match="not signed"):
        check(Sent("POST", b"/", b"", ((b"host", b"a"),), b"", datetime.now(UTC)))


def test_presigned_url_is_refused() -> None:
    request = AWSRequest("POST", "http://localhost:8000/", data=b"{}")
    SigV4QueryAuth(Credentials(KEY_ID, SECRET), "rekognition", "local").add_auth(request)
    sent = arrived(request, "/", request.url.partition("?")[2], b"{}")
    assert "Presigned" in refusal(sent).sentence
