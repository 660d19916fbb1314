"""A client at the ASGI level: sends what it is told, when it is told, and can hang up."""

import asyncio
import json
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope


@dataclass(slots=True)
class Client:
    """Play one request; what the app reads is what was put into `sent`."""

    method: str = "POST"
    path: str = "/embed"
    headers: dict[str, str] = field(default_factory=dict)
    sent: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    got: list[Message] = field(default_factory=list)
    reads: int = 0
    query: bytes = b""
    _read: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def body(self, data: bytes, more: bool = False) -> None:
        self.sent.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def hang_up(self) -> None:
        self.sent.put_nowait({"type": "http.disconnect"})

    @property
    def scope(self) -> Scope:
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "headers": [(k.lower().encode(), v.encode()) for k, v in self.headers.items()],
        }

    async def receive(self) -> Message:
        self.reads += 1
        self._read.release()
        return await self.sent.get()

    async def was_read(self, times: int = 1) -> None:
        """Wait until the app has asked for a message that often; call it once."""
        for _ in range(times):
            await self._read.acquire()

    async def send(self, message: Message) -> None:
        self.got.append(message)

    async def run(self, app: ASGIApp) -> None:
        await app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int | None:
        return int(self.got[0]["status"]) if self.got else None

    @property
    def answered_headers(self) -> Headers:
        return Headers(raw=self.got[0]["headers"])

    @property
    def code(self) -> str:
        data = b"".join(message.get("body", b"") for message in self.got)
        return str(json.loads(data)["code"])
