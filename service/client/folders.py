"""Many photos from a disk: what is sent of each, and what became of it."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Generic, TypeVar, Unpack

from models.datasets.folders import is_text, read_photo_file
from models.datasets.people import list_people
from models.datasets.vectors import UNREADABLE
from service.client.call import Call
from service.client.calls import Embedding, Terms, embed_photo, enroll_photo
from service.schemas.recognition import EmbeddedImage, EnrolledImage, ProblemAnswer

T = TypeVar("T")
AnyPath = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class EnrolledPhoto:
    """Hold what became of one photo of a subject."""

    path: Path
    subject: str
    image: EnrolledImage


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """Hold what became of one photo."""

    path: Path
    image: EmbeddedImage


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """Hold an answer that the service need not be asked for."""

    answer: T


@dataclass(frozen=True, slots=True)
class Listed:
    """Hold a photo to enrol; of those in `held`, by SHA-256, the subject has templates."""

    path: Path
    subject: str
    held: frozenset[str]

    def step(self, **terms: Unpack[Terms]) -> Call[EnrolledPhoto] | Known[EnrolledPhoto]:
        """Read the photo and return what to ask, if anything."""
        if not is_text(self.subject):
            return Known(self._done(_failed(UNREADABLE, "The subject's name is not UTF-8.")))
        photo = read_file(self.path)
        if isinstance(photo, ProblemAnswer):
            return Known(self._done(EnrolledImage(image=0, status="failed", problem=photo)))
        if sha256(photo).hexdigest() in self.held:
            return Known(self._done(EnrolledImage(image=0, status="already_enrolled")))
        return enroll_photo(self.subject, photo, **terms).then(self._done)

    def _done(self, image: EnrolledImage) -> EnrolledPhoto:
        return EnrolledPhoto(self.path, self.subject, image)


def embedding(path: Path, **how: Unpack[Embedding]) -> Call[EmbeddedPhoto] | Known[EmbeddedPhoto]:
    """Read a photo and return what to ask, if anything."""
    photo = read_file(path)
    if isinstance(photo, ProblemAnswer):
        return Known(EmbeddedPhoto(path, EmbeddedImage(image=0, status="failed", problem=photo)))
    return embed_photo(photo, **how).then(partial(EmbeddedPhoto, path))


def read_file(path: Path) -> bytes | ProblemAnswer:
    """Return the bytes of a file, or why there are none to be had."""
    try:
        return read_photo_file(path)
    except OSError as error:
        sentence = error.strerror or "The file cannot be read."
        return ProblemAnswer(code=UNREADABLE, detail=sentence)


@dataclass(frozen=True, slots=True)
class PhotosOfPeople:
    """Hold photos `(path, subject)`, by subject, and what of their source cannot be used.

    `notes` say in a line each what was passed over on purpose.
    """

    photos: list[tuple[Path, str]]
    failed: list[EnrolledPhoto]
    notes: list[str]


def people_in(source: AnyPath, outside: bool = False) -> PhotosOfPeople:
    """List the photos of a folder per subject, or of a CSV `path,identity`, by subject.

    Paths in the CSV lead out of its folder only if `outside` allows it. Raises LikenessError.
    """
    listed = list_people(Path(source), outside)
    photos = [(listed.folder / name, subject) for name, subject in listed.photos]
    return PhotosOfPeople(
        sorted(photos, key=itemgetter(1)),
        [
            EnrolledPhoto(listed.folder / row.path, "", _failed(row.code, row.sentence))
            for row in listed.unusable
        ],
        listed.notes,
    )


def _failed(code: str, sentence: str) -> EnrolledImage:
    problem = ProblemAnswer(code=code, detail=sentence)
    return EnrolledImage(image=0, status="failed", problem=problem)


R = TypeVar("R")


async def in_tasks(
    things: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Coroutine[None, None, R]],
    at_once: int,
) -> AsyncGenerator[R]:
    """Yield results in the order of completion; what `work` raises ends everything."""
    if at_once < 1:
        raise ValueError("at_once is at least 1")
    source = aiter(things if isinstance(things, AsyncIterable) else _awaited(things))
    running: set[asyncio.Task[R]] = set()
    try:
        while True:
            for thing in await _take(source, at_once - len(running)):
                running.add(asyncio.create_task(work(thing)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _take(source: AsyncIterator[T], most: int) -> list[T]:
    taken: list[T] = []
    while len(taken) < most:
        try:
            taken.append(await anext(source))
        except StopAsyncIteration:
            break
    return taken


async def _awaited(things: Iterable[T]) -> AsyncGenerator[T]:
    for thing in things:
        yield thing


def in_threads(things: Iterable[T], work: Callable[[T], R], at_once: int) -> Generator[R]:
    """Yield results in the order of completion; what `work` raises ends everything."""
    source = iter(things)
    running: set[Future[R]] = set()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                for thing in islice(source, at_once - len(running)):
                    running.add(pool.submit(work, thing))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
