"""Read photos from a disk, one or many, and run some requests at a time."""

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
from hashlib import sha256
from itertools import islice
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TypeVar

from service.schemas.recognition import EmbeddedImage, EnrolledImage, ProblemAnswer

T = TypeVar("T")
R = TypeVar("R")

AnyPath = str | PathLike[str]
Photo = bytes | AnyPath | BinaryIO


@dataclass(frozen=True, slots=True)
class EnrolledPhoto:
    """Hold the result of enrolling one photo of a subject."""

    path: Path
    subject: str
    image: EnrolledImage


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """Hold the result of embedding one photo."""

    path: Path
    image: EmbeddedImage


@dataclass(frozen=True, slots=True)
class PhotoToEnrol:
    """Hold a photo to enrol, and the SHA-256 of the photos its subject has templates of."""

    path: Path
    subject: str
    enrolled: frozenset[str]

    def read(self) -> bytes | EnrolledImage:
        """Return the bytes to send, or the result of a photo that is not sent."""
        if not is_text(self.subject):
            return _failed(_unreadable("The subject's name is not UTF-8."))
        photo = read_file(self.path)
        if isinstance(photo, ProblemAnswer):
            return _failed(photo)
        if sha256(photo).hexdigest() in self.enrolled:
            return EnrolledImage(image=0, status="already_enrolled")
        return photo


@dataclass(frozen=True, slots=True)
class PhotosOfPeople:
    """Hold photos `(path, subject)` sorted by subject, and what could not be used.

    `notes` are lines about files that were left out on purpose.
    """

    photos: list[tuple[Path, str]]
    failed: list[EnrolledPhoto]
    notes: list[str]


def people_in(source: AnyPath, outside: bool = False) -> PhotosOfPeople:
    """List the photos of a folder with one folder per subject, or of a CSV `path,identity`.

    Paths in the CSV may leave its folder only if `outside` allows it. Raises LikenessError.
    """
    from models.datasets.people import list_people

    people = list_people(Path(source), outside)
    photos = [(people.folder / name, subject) for name, subject in people.photos]
    return PhotosOfPeople(
        sorted(photos, key=itemgetter(1)),
        [
            EnrolledPhoto(
                people.folder / row.path,
                "",
                _failed(ProblemAnswer(code=row.code, detail=row.sentence)),
            )
            for row in people.unusable
        ],
        people.notes,
    )


def _failed(problem: ProblemAnswer) -> EnrolledImage:
    return EnrolledImage(image=0, status="failed", problem=problem)


def read_photo(photo: AnyPath | BinaryIO) -> bytes:
    """Return the bytes of a photo's file. Raises OSError if it cannot be read."""
    return _read(Path(photo)) if isinstance(photo, str | PathLike) else photo.read()


def read_file(path: Path) -> bytes | ProblemAnswer:
    """Return the bytes of a photo file, or the problem if it cannot be read."""
    try:
        return _read(path)
    except OSError as error:
        return _unreadable(error.strerror or "The file cannot be read.")


def is_text(name: str) -> bool:
    """Tell whether a name is UTF-8, so that it can be sent to a service."""
    from models.datasets import folders

    return folders.is_text(name)


def _read(path: Path) -> bytes:
    from models.datasets.folders import read_photo_file

    return read_photo_file(path)


def _unreadable(sentence: str) -> ProblemAnswer:
    from models.datasets.tables import UNREADABLE

    return ProblemAnswer(code=UNREADABLE, detail=sentence)


async def in_tasks(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Coroutine[None, None, R]],
    at_once: int,
) -> AsyncGenerator[R]:
    """Yield the results of `work` as they complete, `at_once` running at a time.

    If `work` raises, the others are cancelled and the error is raised.
    """
    if at_once < 1:
        raise ValueError("at_once must be at least 1")
    source = aiter(items if isinstance(items, AsyncIterable) else _as_async(items))
    done: set[asyncio.Task[R]] = set()
    running: set[asyncio.Task[R]] = set()
    try:
        while True:
            for item in await _next_items(source, at_once - len(running)):
                running.add(asyncio.create_task(work(item)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        # With those that are done: an error that is not collected here is logged as lost.
        await asyncio.gather(*running, *done, return_exceptions=True)


async def _next_items(source: AsyncIterator[T], most: int) -> list[T]:
    items: list[T] = []
    while len(items) < most:
        try:
            items.append(await anext(source))
        except StopAsyncIteration:
            break
    return items


async def _as_async(items: Iterable[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item


def in_threads(items: Iterable[T], work: Callable[[T], R], at_once: int) -> Generator[R]:
    """Yield the results of `work` as they complete, `at_once` running at a time.

    If `work` raises, those that have not begun are cancelled and the error is raised.
    """
    source = iter(items)
    running: set[Future[R]] = set()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                for item in islice(source, at_once - len(running)):
                    running.add(pool.submit(work, item))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
