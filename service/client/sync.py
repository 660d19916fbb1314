"""The client that waits for each answer, `Likeness`."""

import time
from collections.abc import Callable, Generator, Iterable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from service.client import calls
from service.client.aio import DEFAULT_URL, TIMEOUT_S, key_headers
from service.client.call import Call, Page
from service.client.errors import Refused
from service.client.folders import (
    EmbeddedPhoto,
    EnrolledPhoto,
    LocalAnswer,
    PhotoToEnrol,
    embedding,
    in_threads,
    people_in,
)
from service.client.photos import AnyPath, is_text
from service.client.retry import Patience, Tries
from service.schemas.gallery import SubjectSummaryAnswer

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


def _waits(make: Callable[P, Call[T]]) -> Callable[Concatenate["Likeness", P], T]:
    @wraps(make)
    def method(self: "Likeness", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask(make(*args, **kwargs))

    return method


class Likeness:
    """Send requests to a service and wait for the answers; threads may share one client.

    Without a `key`, the variable LIKENESS_API_KEY is used. `timeout_s` limits how long a
    connection may be silent. `transport` and `sleep` replace httpx's connections and time.sleep.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )
        self._patience = patience or Patience()
        self._sleep = sleep

    verify = _waits(calls.verify)
    verify_pair = _waits(calls.verify_pair)
    identify = _waits(calls.identify)
    enroll = _waits(calls.enroll)
    enroll_photo = _waits(calls.enroll_photo)
    embed = _waits(calls.embed)
    embed_rows = _waits(calls.embed_rows)
    embed_photo = _waits(calls.embed_photo)
    subject = _waits(calls.subject)
    export = _waits(calls.export)
    rename_subject = _waits(calls.rename_subject)
    delete_subject = _waits(calls.delete_subject)
    delete_template = _waits(calls.delete_template)
    model = _waits(calls.model)
    ready = _waits(calls.ready)

    def ask(self, call: Call[T]) -> T:
        """Send a request, and send it again where that can help."""
        tries = Tries(self._patience, call)
        while True:
            try:
                return call.answer(self._http.send(call.request(self._http)))
            except (Refused, httpx.TransportError) as failure:
                wait_s = tries.wait_s(failure)
                if wait_s is None:
                    raise
            self._sleep(wait_s)

    def each(self, page: Callable[[C | None], Call[Page[T, C]]]) -> Generator[T]:
        """Yield the items of all pages; a page is requested when the one before is used up."""
        after: C | None = None
        while True:
            answer = self.ask(page(after))
            yield from answer.items
            after = answer.next
            if after is None:
                return

    def subjects(self) -> Generator[SubjectSummaryAnswer]:
        """Yield all subjects, sorted by name."""
        return self.each(calls.subjects_page)

    def enroll_folder(
        self,
        source: AnyPath,
        *,
        at_once: int = 8,
        outside: bool = False,
        **options: Unpack[calls.EnrolOptions],
    ) -> Generator[EnrolledPhoto]:
        """Enrol a folder with one folder per subject, or a CSV `path,identity`.

        Files and rows that cannot be used are `failed` as well. Paths in the CSV may leave its
        folder only if `outside` allows it. Raises LikenessError if there are no photos.
        """
        people = people_in(source, outside)
        yield from people.failed
        yield from self.enroll_many(people.photos, at_once=at_once, **options)

    def enroll_many(
        self,
        photos: Iterable[tuple[AnyPath, str]],
        *,
        at_once: int = 8,
        **options: Unpack[calls.EnrolOptions],
    ) -> Generator[EnrolledPhoto]:
        """Enrol photos `(path, subject)`, `at_once` at a time; yield each result when it is there.

        A photo that cannot be read or used is `failed`, with its problem. A photo that its
        subject already has is not sent again, if the key may look up subjects. That lookup is
        made whenever the subject changes, so keep the photos of a subject together.
        """

        def enrol(photo: PhotoToEnrol) -> EnrolledPhoto:
            return self._settle(photo.step(**options))

        yield from in_threads(self._to_enrol(photos), enrol, at_once)

    def _to_enrol(self, photos: Iterable[tuple[AnyPath, str]]) -> Generator[PhotoToEnrol]:
        served = self.model().fingerprint
        looked_up, enrolled = None, frozenset[str]()
        for path, subject in photos:
            if subject != looked_up and is_text(subject):
                looked_up = subject
                enrolled = self.ask(calls.photos_enrolled(subject, served))
            yield PhotoToEnrol(Path(path), subject, enrolled)

    def embed_many(
        self,
        photos: Iterable[AnyPath],
        *,
        at_once: int = 8,
        **options: Unpack[calls.EmbedOptions],
    ) -> Generator[EmbeddedPhoto]:
        """Embed photos, `at_once` at a time; yield each result as soon as it is there."""

        def embed(photo: AnyPath) -> EmbeddedPhoto:
            return self._settle(embedding(Path(photo), **options))

        yield from in_threads(photos, embed, at_once)

    def _settle(self, step: Call[T] | LocalAnswer[T]) -> T:
        return self.ask(step) if isinstance(step, Call) else step.answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
