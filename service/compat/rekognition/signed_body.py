"""Prove who signed a request: by its head alone if that says what the body is, or by both."""

import hashlib
from datetime import UTC, datetime

from starlette.types import Message, Receive, Scope

from service.compat.rekognition.signature import Signed, check_body, read_signature, verify
from service.edge.unverified import Unverified


def signature_of(scope: Scope) -> Signed:
    """Return what a request says of its signature. Raises KeyMissing, KeyInvalid."""
    return read_signature(scope["headers"], scope["query_string"], datetime.now(UTC))


async def proved(
    scope: Scope, receive: Receive, signed: Signed, secret: str, unverified: Unverified
) -> Receive:
    """Check a signature and return what receives the body that it is of.

    A head that gives the body's SHA-256 is checked before the body is read, and the body at its
    end. Otherwise the whole body is read first, within an allowance of its own. Raises
    KeyInvalid, and what reading raises.
    """
    body = _Body(receive, signed.body_sha256)
    if signed.body_sha256 is not None:
        _verify(scope, signed, secret, signed.body_sha256)
        return body.receive
    whole = await unverified.read(signed.access_key_id, body.receive)
    _verify(scope, signed, secret, body.sha256)
    return _Replayed(whole, receive).receive


def _verify(scope: Scope, signed: Signed, secret: str, body_sha256: str) -> None:
    path, query = scope["raw_path"], scope["query_string"]
    verify(signed, secret, scope["method"], path, query, scope["headers"], body_sha256)


class _Body:
    """Hash a body while it is read; its end comes only if it is the one that was stated."""

    def __init__(self, receive: Receive, stated: str | None) -> None:
        self._receive = receive
        self._stated = stated
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Return the hash of what has been read."""
        return self._hash.hexdigest()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._hash.update(message.get("body", b""))
            if self._stated is not None and not message.get("more_body", False):
                check_body(self._stated, self.sha256)
        return message


class _Replayed:
    """Give a body that was read already, and then what comes behind it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        # Kept no longer than whoever asks for it keeps it.
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
