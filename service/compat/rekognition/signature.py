"""AWS Signature Version 4, as all AWS services but S3 use it: read a signature and check it.

A signature is an HMAC of the whole request. Its key is derived from the secret for one day, one
region and one service. Source: AWS, "Create a signed AWS API request" (IAM user guide). Headers
are pairs as in ASGI: in the order of the request, with names in lower case.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from service.errors import KeyInvalid, KeyMissing

Headers = Sequence[tuple[bytes, bytes]]

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SERVICE: Final = "rekognition"
_END: Final = "aws4_request"
_MOMENT: Final = "%Y%m%dT%H%M%SZ"
_MAX_CLOCK_SKEW: Final = timedelta(minutes=5)

_AUTHORIZATION, _DATE = b"authorization", b"x-amz-date"
_BODY_SHA256, _SESSION = b"x-amz-content-sha256", b"x-amz-security-token"
# Time, host and operation must be signed, or an attacker could change them.
_ALWAYS_SIGNED, _SIGNED_IF_SENT = frozenset({b"host", _DATE}), frozenset({b"x-amz-target"})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PARTS: Final = {
    "Credential": re.compile(r"[!-~]+"),
    "SignedHeaders": re.compile(r"[!-:<-~]+(;[!-:<-~]+)*"),
    "Signature": _SHA256,
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Hold the signature of a request, which is not checked yet.

    `at` is UTC. `headers` are the names of the signed headers, sorted. `body_sha256` is the SHA-256
    of the body in hex, None if the head does not state it.
    """

    access_key_id: str
    at: datetime
    region: str
    headers: tuple[bytes, ...]
    body_sha256: str | None
    signature: str = field(repr=False)

    @property
    def scope(self) -> str:
        """Return the scope for which the signing key is derived."""
        return f"{self.at:%Y%m%d}/{self.region}/{_SERVICE}/{_END}"


def read_signature(headers: Headers, raw_query: bytes, now: datetime) -> Signature:
    """Return the signature of a request, which is not checked yet.

    `raw_query` is the query as it was sent, without the question mark. Raises KeyMissing if the
    request is not signed, and KeyInvalid if no secret could make the signature right.
    """
    sent = {name for name, _ in headers}
    names = {unquote_to_bytes(name).lower() for name, _ in _pairs(raw_query)}
    if b"x-amz-signature" in names or b"x-amz-algorithm" in names:
        raise KeyInvalid("Presigned URLs are not accepted; sign in the header Authorization.")
    if _AUTHORIZATION not in sent:
        raise KeyMissing(f"The request is not signed: it has no header Authorization: {ALGORITHM}.")
    if _SESSION in sent or _SESSION in names:
        raise KeyInvalid("Temporary credentials and session tokens are not accepted.")
    parts = _parts(_single(headers, _AUTHORIZATION))
    signed = tuple(parts["SignedHeaders"].encode().split(b";"))
    if list(signed) != sorted(set(signed)) or not sent.issuperset(signed):
        raise KeyInvalid("SignedHeaders must list headers of the request, sorted, each once.")
    needed = _ALWAYS_SIGNED | _SIGNED_IF_SENT & sent
    if not needed.issubset(signed):
        missing = b", ".join(sorted(needed.difference(signed))).decode()
        raise KeyInvalid(f"The signature does not cover {missing}.")
    at = _moment(_single(headers, _DATE))
    if abs(now - at) > _MAX_CLOCK_SKEW:
        raise KeyInvalid(
            f"The request was signed at {at:%H:%M:%S} UTC, more than "
            f"{_MAX_CLOCK_SKEW.seconds // 60} minutes from the service's time, "
            f"{now:%Y-%m-%d %H:%M:%S} UTC."
        )
    access_key_id, _, scope = parts["Credential"].partition("/")
    region = scope.split("/")[1] if scope.count("/") == 3 else ""
    read = Signature(access_key_id, at, region, signed, _stated_sha256(headers), parts["Signature"])
    if scope != read.scope or not (access_key_id and region):
        raise KeyInvalid(
            f"The credential's scope must be DATE/REGION/{_SERVICE}/{_END}, with the date of "
            "x-amz-date."
        )
    return read


def verify(
    signed: Signature,
    secret: str,
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    headers: Headers,
    body_sha256: str,
) -> None:
    """Check the signature of a request with the secret, in constant time.

    `raw_path` and `raw_query` are as they were sent, and `body_sha256` is in hex. Raises
    KeyInvalid.
    """
    canonical = b"\n".join(
        (
            method.encode(),
            _canonical_path(raw_path),
            _canonical_query(raw_query),
            *_canonical_headers(signed.headers, headers),
            b"",
            b";".join(signed.headers),
            body_sha256.encode(),
        )
    )
    to_sign = "\n".join(
        (
            ALGORITHM,
            signed.at.strftime(_MOMENT),
            signed.scope,
            hashlib.sha256(canonical).hexdigest(),
        )
    )
    key = f"AWS4{secret}".encode()
    for step in (*signed.scope.split("/"), to_sign):
        key = hmac.digest(key, step.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), signed.signature):
        raise KeyInvalid(
            "The signature is wrong for this request and this key: the secret is wrong, or a proxy "
            "changed the request, for example its Host header."
        )


def check_body(stated: str, sha256: str) -> None:
    """Raise KeyInvalid unless a body has the hash that the head states."""
    if stated != sha256:
        raise KeyInvalid(f"{_BODY_SHA256.decode()} is not the SHA-256 of the body.")


def _stated_sha256(headers: Headers) -> str | None:
    if not any(name == _BODY_SHA256 for name, _ in headers):
        return None
    stated = _single(headers, _BODY_SHA256).decode("latin-1")
    if not _SHA256.fullmatch(stated):
        raise KeyInvalid(f"{_BODY_SHA256.decode()} must be a SHA-256 in hex, 64 digits.")
    return stated


def _parts(authorization: bytes) -> Mapping[str, str]:
    algorithm, _, rest = authorization.decode("latin-1").partition(" ")
    given = [part.strip(" ").partition("=") for part in rest.split(",")]
    parts = {name: value for name, _, value in given}
    if (
        algorithm != ALGORITHM
        or len(given) != len(_PARTS)
        or not all(form.fullmatch(parts.get(name, "")) for name, form in _PARTS.items())
    ):
        raise KeyInvalid(
            f"Authorization must be `{ALGORITHM} Credential=..., SignedHeaders=..., Signature=...`."
        )
    return parts


def _single(headers: Headers, wanted: bytes) -> bytes:
    values = [value for name, value in headers if name == wanted]
    if len(values) != 1:
        raise KeyInvalid(f"There must be exactly one header {wanted.decode()}.")
    return values[0]


def _moment(text: bytes) -> datetime:
    try:
        moment = datetime.strptime(text.decode("ascii"), _MOMENT).replace(tzinfo=UTC)
    except ValueError as exc:  # also for bytes that are not ASCII
        raise _no_moment() from exc
    # strptime accepts more forms than strftime writes; only that one form is valid.
    if moment.strftime(_MOMENT).encode() != text:
        raise _no_moment()
    return moment


def _no_moment() -> KeyInvalid:
    return KeyInvalid("x-amz-date must be a time in UTC, for example 20300131T235959Z.")


def _canonical_path(raw: bytes) -> bytes:
    """Resolve dots and repeated slashes, and encode the path, which is encoded already, again."""
    kept: list[bytes] = []
    for segment in raw.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and raw.endswith(b"/") else b""
    return quote_from_bytes(b"/" + b"/".join(kept) + end, safe="/").encode()


def _canonical_query(raw: bytes) -> bytes:
    pairs = sorted(tuple(_encoded(part) for part in pair) for pair in _pairs(raw))
    return b"&".join(b"=".join(pair) for pair in pairs)


def _pairs(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    for part in raw.split(b"&") if raw else ():
        name, _, value = part.partition(b"=")
        yield name, value


def _encoded(part: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(part), safe="").encode()


def _canonical_headers(names: Sequence[bytes], headers: Headers) -> Iterator[bytes]:
    """Join the values of a repeated header, and replace runs of white space by one space."""
    for wanted in names:
        values = (b" ".join(value.split()) for name, value in headers if name == wanted)
        yield wanted + b":" + b",".join(values)
