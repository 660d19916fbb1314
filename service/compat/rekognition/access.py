"""Which requests are Rekognition's, what they need, and how their signature is checked."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from service.compat.rekognition.signature import Signature, check_body, read_signature, verify
from service.edge.access import Need, Policy
from service.errors import ClientGone, TooManyRequests
from service.schemas.requests import Scope as KeyScope
from service.settings import Settings

PATH: Final = "/"
TARGET: Final = "x-amz-target"
_SERVICE: Final = "RekognitionService"

# Every other operation needs the scope `admin`.
_SCOPES: Final[Mapping[str, KeyScope]] = MappingProxyType(
    {
        "CompareFaces": "verify",
        "DetectFaces": "verify",
        "SearchFaces": "verify",
        "SearchFacesByImage": "verify",
        "IndexFaces": "enroll",
    }
)
_WITH_PHOTOS: Final = frozenset({"CompareFaces", "DetectFaces", "IndexFaces", "SearchFacesByImage"})


def operation_of(scope: Scope) -> str | None:
    """Return the operation that a request names, known or not; None if it is not Rekognition's."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
        return None
    service, _, name = Headers(scope=scope).get(TARGET, "").partition(".")
    return name if service == _SERVICE else None


def is_rekognition(scope: Scope) -> bool:
    """Tell whether a request is Rekognition's."""
    return operation_of(scope) is not None


def takes_photos(operation: str) -> bool:
    """Tell whether an operation takes photos."""
    return operation in _WITH_PHOTOS


def policy_of(settings: Settings) -> Policy:
    """Return the policy that tells what a request of Rekognition's needs."""
    # Room for two of the largest bodies, and for as many bodies as there are permits.
    bodies = UnverifiedBodies(settings.max_inflight, 2 * settings.max_body_bytes)

    def signature(scope: Scope) -> SignedRequest:
        now = datetime.now(UTC)
        read = read_signature(scope["headers"], scope["query_string"], now)
        return SignedRequest(scope, read, bodies)

    def needs(scope: Scope) -> Need | None:
        operation = operation_of(scope)
        if operation is None:
            return None
        key_scope = _SCOPES.get(operation, "admin")
        return Need(key_scope, photos=takes_photos(operation), signature=signature)

    return needs


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """Hold a request with the signature that it carries, which is not checked yet."""

    scope: Scope
    signature: Signature
    bodies: "UnverifiedBodies"

    @property
    def access_key_id(self) -> str:
        """Return the id of the key that the request claims to be signed with."""
        return self.signature.access_key_id

    async def check(self, secret: str, receive: Receive) -> Receive:
        """Check the signature, and return the ASGI callable that reads the body.

        `secret` is the secret of the key that signed. If the head states the SHA-256 of the body,
        the signature is checked before the body is read, and the body is compared with it at its
        end. Otherwise the whole body is read first, as one of the unverified bodies. Raises
        KeyInvalid, and what reading the body raises.
        """
        stated = self.signature.body_sha256
        body = _HashedBody(receive, stated)
        if stated is not None:
            self._verify(secret, stated)
            return body.receive
        whole = await self.bodies.read(self.access_key_id, body.receive)
        self._verify(secret, body.sha256)
        return _StoredBody(whole, receive).receive

    def _verify(self, secret: str, body_sha256: str) -> None:
        scope = self.scope
        path, query = scope["raw_path"], scope["query_string"]
        verify(self.signature, secret, scope["method"], path, query, scope["headers"], body_sha256)


class _HashedBody:
    """Hash a body while it is read; refuse its end if its hash is not the stated one."""

    def __init__(self, receive: Receive, stated: str | None) -> None:
        self._receive = receive
        self._stated = stated
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Return the hash of what has been read, in hex."""
        return self._hash.hexdigest()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._hash.update(message.get("body", b""))
            if self._stated is not None and not message.get("more_body", False):
                check_body(self._stated, self.sha256)
        return message


class _StoredBody:
    """Give a body that was read already, and then the messages that follow it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        # Let go of it, so that only the reader keeps it alive.
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _UnverifiedBody:
    """Hold the part of a body that has arrived, and the key that its sender claims to have."""

    def __init__(self, access_key_id: str, timeout: asyncio.Timeout) -> None:
        self.access_key_id = access_key_id
        self.chunks: list[bytes] = []
        self.size = 0
        self._timeout = timeout

    def end(self) -> None:
        """Let its reader raise TimeoutError."""
        self._timeout.reschedule(0)


class UnverifiedBodies:
    """Read bodies whose sender is not proved yet, and bound their number and their bytes.

    Over a limit, the oldest body of the key with the most bodies is dropped, so one abused key id
    cannot block others. Owned by the event loop.
    """

    def __init__(self, max_bodies: int, max_bytes: int) -> None:
        self._max_bodies = max_bodies
        self._max_bytes = max_bytes
        self._bytes = 0
        # An ordered set, the oldest first.
        self._bodies: dict[_UnverifiedBody, None] = {}

    async def read(self, access_key_id: str, receive: Receive) -> bytes:
        """Read a body to its end. Raises TooManyRequests, ClientGone, and what `receive` raises."""
        try:
            async with asyncio.timeout(None) as timeout:
                body = _UnverifiedBody(access_key_id, timeout)
                self._bodies[body] = None
                try:
                    return await self._read(body, receive)
                finally:
                    self._forget(body)
        except TimeoutError as exc:
            raise TooManyRequests(
                "Too many requests wait until their signature can be checked."
            ) from exc

    async def _read(self, body: _UnverifiedBody, receive: Receive) -> bytes:
        self._make_room()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone("The client went away while it sent its request.")
            chunk = message.get("body", b"")
            body.chunks.append(chunk)
            body.size += len(chunk)
            self._bytes += len(chunk)
            self._make_room()
            more = message.get("more_body", False)
        return b"".join(body.chunks)

    def _make_room(self) -> None:
        while len(self._bodies) > self._max_bodies:
            self._end_one(lambda _: 1)
        while self._bytes > self._max_bytes:
            self._end_one(lambda body: body.size)

    def _end_one(self, weight: Callable[[_UnverifiedBody], int]) -> None:
        by_key: Counter[str] = Counter()
        for body in self._bodies:
            by_key[body.access_key_id] += weight(body)
        ((access_key_id, _),) = by_key.most_common(1)
        oldest = next(body for body in self._bodies if body.access_key_id == access_key_id)
        self._forget(oldest)
        oldest.end()

    def _forget(self, body: _UnverifiedBody) -> None:
        if body in self._bodies:
            del self._bodies[body]
            self._bytes -= body.size
