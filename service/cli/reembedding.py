"""Embed anew, at one service, the photos that the next bundle has no template of."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.datasets.folders import contents_of, read_photo_file
from models.datasets.vectors import UNREADABLE, RejectedFile
from service.client.aio import AsyncLikeness
from service.client.call import Call, of
from service.client.errors import NotFound, RejectedPhoto
from service.client.side_by_side import in_tasks
from service.schemas.change_answers import LackingAnswer, LackingTemplate, ReembeddedAnswer

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

    def __init__(self, likeness: AsyncLikeness, at_once: int, photos: Mapping[str, Path]) -> None:
        self._likeness = likeness
        self._at_once = at_once
        self._photos = photos
        self._outcome = Reembedded()

    async def run(self, advance: Callable[[], None]) -> Reembedded:
        """Embed all that can be; raises Refused and TransportError."""
        lacking = self._likeness.each(_lacking)
        async with aclosing(in_tasks(lacking, self._one, self._at_once)) as done:
            async for _ in done:
                advance()
        return self._outcome

    async def _one(self, template: LackingTemplate) -> None:
        photo = None
        if not template.has_photo:
            path = self._photos.get(template.image_sha256)
            if path is None:
                self._miss(template, PHOTO_NEEDED, "Its photo was not kept, nor is it given.")
                return
            try:
                photo = await asyncio.to_thread(read_photo_file, path)
            except OSError as error:
                self._miss(template, UNREADABLE, error.strerror or "The file cannot be read.")
                return
        try:
            await self._likeness.ask(_reembed(template, photo))
            self._outcome.embedded += 1
        except NotFound:
            self._outcome.gone += 1  # deleted meanwhile
        except RejectedPhoto as rejected:
            self._miss(template, rejected.problem.code, rejected.problem.detail)

    def _miss(self, template: LackingTemplate, code: str, sentence: str) -> None:
        name = f"{template.subject}/{template.template_id}"
        self._outcome.missing.append(RejectedFile(name, code, sentence))


def _lacking(after: int | None) -> Call[LackingAnswer]:
    return Call("GET", "/change/lacking", of(LackingAnswer), params={"after": after or 0})


def _reembed(template: LackingTemplate, photo: bytes | None) -> Call[ReembeddedAnswer]:
    names = {"subject": template.subject, "template_id": template.template_id}
    route, read = "/change/reembed", of(ReembeddedAnswer)
    if photo is None:
        return Call("POST", route, read, json=names)
    return Call("POST", route, read, fields=names, photos=[("image", photo)])


def by_digest(folder: Path) -> dict[str, Path]:
    """Return every readable file below a folder by the SHA-256 of its bytes, whatever its name."""
    found = {}
    for path in contents_of(folder).files:
        with suppress(OSError):
            found[hashlib.sha256(read_photo_file(path)).hexdigest()] = path
    return found
