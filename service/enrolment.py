"""Enrol many photos at one service, a few at a time, each of them once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TypeVar
from urllib.parse import quote

import httpx

from models.rejected import UNREADABLE, RejectedFile
from service.answers import EnrollAnswer, EnrolledImage
from service.gallery_answers import SubjectAnswer
from service.local import Refused, answer
from service.model_answers import ModelAnswer

T = TypeVar("T")

# What a photo alone is to blame for; everything else ends the command.
OF_THE_PHOTO = (413, 415, 422)
# A service that is busy gets better within that time; one whose device is lost does not.
PATIENCE_S = 120.0


@dataclass(slots=True)
class Outcome:
    """Count what became of the photos."""

    enrolled: int = 0
    held: int = 0
    rejected: list[RejectedFile] = field(default_factory=list)


class Enrolment:
    """Send many photos to one service, a few at a time.

    What a subject holds already is asked of the service itself: there is no journal that
    could disagree with it.
    """

    def __init__(self, client: httpx.AsyncClient, at_once: int) -> None:
        self._client = client
        self._room = asyncio.Semaphore(at_once)
        self._outcome = Outcome()

    async def run(
        self, folder: Path, listed: list[tuple[str, str]], advance: Callable[[], None]
    ) -> Outcome:
        """Enrol the photos `(path, subject)` below a folder; raises Refused and TransportError."""
        served = answer(await self._client.get("/model"), ModelAnswer).fingerprint
        held: dict[str, frozenset[str]] = {}

        async def one(path: str, subject: str) -> None:
            try:
                await self._one(folder, path, subject, held[subject])
            finally:
                self._room.release()
            advance()

        try:
            async with asyncio.TaskGroup() as group:
                for path, subject in listed:
                    await self._room.acquire()
                    if subject not in held:
                        held[subject] = await self._held(subject, served)
                    group.create_task(one(path, subject))
        except* (Refused, httpx.TransportError) as failed:
            raise failed.exceptions[0] from None
        return self._outcome

    async def _held(self, subject: str, fingerprint: str) -> frozenset[str]:
        """Return the digests of the photos that a subject has templates of."""
        response = await self._client.get(f"/subjects/{quote(subject, safe='')}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return frozenset()
        templates = answer(response, SubjectAnswer).templates
        return frozenset(t.image_sha256 for t in templates if t.fingerprint == fingerprint)

    async def _one(self, folder: Path, path: str, subject: str, held: frozenset[str]) -> None:
        try:
            photo = await asyncio.to_thread((folder / path).read_bytes)
        except OSError as error:
            sentence = error.strerror or "The file cannot be read."
            self._outcome.rejected.append(RejectedFile(path, UNREADABLE, sentence))
            return
        if sha256(photo).hexdigest() in held:
            self._outcome.held += 1
            return
        image = await enroll_patiently(self._client, subject, photo)
        if image.problem is not None:
            problem = image.problem
            self._outcome.rejected.append(RejectedFile(path, problem.code, problem.detail))
        elif image.status == "already_enrolled":
            self._outcome.held += 1
        else:
            self._outcome.enrolled += 1


async def enroll_patiently(
    client: httpx.AsyncClient, subject: str, photo: bytes, patience_s: float = PATIENCE_S
) -> EnrolledImage:
    """Send one photo, as patiently as it takes."""
    (image,) = await patiently(lambda: enroll_one(client, subject, photo, 0), patience_s)
    return image


async def patiently(ask: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
    """Ask, and again after as long as a busy service asks to wait.

    Raises Refused once the service has been asking for more than `patience_s`.
    """
    until = monotonic() + patience_s
    while True:
        try:
            return await ask()
        except Refused as refused:
            if refused.retry_after_s is None or monotonic() >= until:
                raise
            await asyncio.sleep(refused.retry_after_s)


async def enroll_one(
    client: httpx.AsyncClient, subject: str, photo: bytes, position: int
) -> list[EnrolledImage]:
    """Send one photo; what is wrong with it is an outcome, what is wrong elsewhere is raised."""
    response = await client.post("/enroll", data={"subject": subject}, files={"image": photo})
    try:
        images = answer(response, EnrollAnswer).images
    except Refused as refused:
        if refused.problem.status not in OF_THE_PHOTO:
            raise
        return [EnrolledImage.refused(position, refused.problem)]
    return [image.model_copy(update={"image": position}) for image in images]
