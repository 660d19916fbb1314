"""Hand the body of a signed request on, and its end only if the signature is of all of it."""

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.types import Message, Receive, Scope

from service.compat.rekognition.signature import Signed, read_signature, verify


def signature_of(scope: Scope) -> Signed:
    """Return what a request says of its signature. Raises KeyMissing, KeyInvalid."""
    return read_signature(scope["headers"], scope["query_string"], datetime.now(UTC))


def checked(
    receive: Receive, scope: Scope, signed: Signed, secret: str, admit: Callable[[], object]
) -> Receive:
    """Return what receives the same; it raises KeyInvalid in place of a false body's end.

    Whoever did sign is admitted before they are heard to the end, or not: `admit` may raise.
    """

    def check(body: bytes) -> None:
        headers, path = scope["headers"], scope["raw_path"]
        verify(signed, secret, scope["method"], path, scope["query_string"], headers, body)
        admit()

    return _Body(receive, check).receive


class _Body:
    def __init__(self, receive: Receive, check: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._check = check
        self._chunks: list[bytes] = []

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._check(b"".join(self._chunks))
        return message
