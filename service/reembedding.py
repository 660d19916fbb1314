"""Embed anew, at one service, the photos that the next bundle has no template of."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from models.rejected import UNREADABLE, RejectedFile
from service.change_answers import LackingAnswer, LackingTemplate, ReembeddedAnswer
from service.enrolment import OF_THE_PHOTO, patiently
from service.local import Refused, answer

PHOTO_NEEDED: Final = "photo_needed"


@dataclass(slots=True)
class Reembedded:
    """Count what became of the templates; who is `missing` has to enrol again."""

    embedded: int = 0
    gone: int = 0
    missing: list[RejectedFile] = field(default_factory=list)


class Reembedding:
    """Work through what the service lists, a few templates at a time.

    What is done already the service knows itself: stopped and started again, this goes on.
    """

    def __init__(self, client: httpx.AsyncClient, at_once: int, photos: Mapping[str, Path]) -> None:
        self._client = client
        self._room = asyncio.Semaphore(at_once)
        self._photos = photos
        self._outcome = Reembedded()

    async def run(self, advance: Callable[[], None]) -> Reembedded:
        """Embed all that can be; raises Refused and TransportError."""

        async def one(template: LackingTemplate) -> None:
            try:
                await self._one(template)
            finally:
                self._room.release()
            advance()

        after: int | None = 0
        try:
            async with asyncio.TaskGroup() as group:
                while after is not None:
                    response = await self._client.get("/change/lacking", params={"after": after})
                    page = answer(response, LackingAnswer)
                    for template in page.items:
                        await self._room.acquire()
                        group.create_task(one(template))
                    after = page.next
        except* (Refused, httpx.TransportError) as failed:
            raise failed.exceptions[0] from None
        return self._outcome

    async def _one(self, template: LackingTemplate) -> None:
        photo = None
        if not template.has_photo:
            path = self._photos.get(template.image_sha256)
            if path is None:
                self._miss(template, PHOTO_NEEDED, "Its photo was not kept, nor is it given.")
                return
            try:
                photo = await asyncio.to_thread(path.read_bytes)
            except OSError as error:
                self._miss(template, UNREADABLE, error.strerror or "The file cannot be read.")
                return
        try:
            await patiently(lambda: self._send(template, photo))
            self._outcome.embedded += 1
        except Refused as refused:
            if refused.problem.status == httpx.codes.NOT_FOUND:
                self._outcome.gone += 1  # deleted meanwhile
            elif refused.problem.status in OF_THE_PHOTO:
                self._miss(template, refused.problem.code, refused.problem.detail)
            else:
                raise

    async def _send(self, template: LackingTemplate, photo: bytes | None) -> ReembeddedAnswer:
        names = {"subject": template.subject, "template_id": template.template_id}
        sent = {"json": names} if photo is None else {"data": names, "files": {"image": photo}}
        return answer(await self._client.post("/change/reembed", **sent), ReembeddedAnswer)

    def _miss(self, template: LackingTemplate, code: str, sentence: str) -> None:
        name = f"{template.subject}/{template.template_id}"
        self._outcome.missing.append(RejectedFile(name, code, sentence))


def by_digest(folder: Path) -> dict[str, Path]:
    """Return every readable file below a folder by the SHA-256 of its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[hashlib.file_digest(file, "sha256").hexdigest()] = path
    return found
