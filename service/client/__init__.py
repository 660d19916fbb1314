"""A client of the service that waits for answers; `service.client.aio` has one that awaits them.

Both ask the same of it (`service.client.calls`) and are as patient (`service.client.retry`): what
failed and can end better is sent again, and an enrolment counts once all the same. They raise
Refused, of one of the kinds in `service.client.errors`, and httpx.TransportError.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from models.datasets.folders import is_text
from service.client import calls
from service.client.call import Call, Page
from service.client.errors import Refused
from service.client.folders import (
    AnyPath,
    EmbeddedPhoto,
    EnrolledPhoto,
    Known,
    Listed,
    embedding,
    in_threads,
    people_in,
)
from service.client.retry import Patience, Tries
from service.schemas.gallery import SubjectSummaryAnswer

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0


def headers(key: str | None) -> dict[str, str]:
    """Return what shows a key, that of the environment if none is given."""
    key = os.environ.get("LIKENESS_API_KEY") if key is None else key
    return {"authorization": f"Bearer {key}"} if key else {}


def _waits(make: Callable[P, Call[T]]) -> Callable[Concatenate["Likeness", P], T]:
    @wraps(make)
    def method(self: "Likeness", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask(make(*args, **kwargs))

    return method


class Likeness:
    """Ask a service and wait for its answers; threads may share one client.

    The key is that of the variable LIKENESS_API_KEY unless another is given. `timeout_s` bounds
    each silence of a connection. `transport` and `sleep` are for who has others than the usual.
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
            base_url=base_url, headers=headers(key), timeout=timeout_s, transport=transport
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
        """Send a call, and again where that can help."""
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
        """Yield the items of all pages, asking for one when the one before is used up."""
        after: C | None = None
        while True:
            answer = self.ask(page(after))
            yield from answer.items
            after = answer.next
            if after is None:
                return

    def subjects(self) -> Generator[SubjectSummaryAnswer]:
        """Yield all subjects in the order of their names."""
        return self.each(calls.subjects_page)

    def enroll_folder(
        self,
        source: AnyPath,
        *,
        at_once: int = 8,
        outside: bool = False,
        **terms: Unpack[calls.Terms],
    ) -> Generator[EnrolledPhoto]:
        """Enrol a folder per subject, or a CSV `path,identity`, as `enroll_many` does.

        What the folder or the list has that cannot be used is `failed`, too. The CSV leads out
        of its folder only if `outside` allows it. Raises LikenessError if there is nobody.
        """
        listed = people_in(source, outside)
        yield from listed.failed
        yield from self.enroll_many(listed.photos, at_once=at_once, **terms)

    def enroll_many(
        self,
        photos: Iterable[tuple[AnyPath, str]],
        *,
        at_once: int = 8,
        **terms: Unpack[calls.Terms],
    ) -> Generator[EnrolledPhoto]:
        """Enrol photos `(path, subject)`, so many at once; yield each as soon as it is done.

        A photo that cannot be read or used is `failed`, with its problem. One that its subject
        holds already is not sent, if the key may look; photos of a subject go together best.
        """

        def one(listed: Listed) -> EnrolledPhoto:
            return self._settle(listed.step(**terms))

        yield from in_threads(self._listed(photos), one, at_once)

    def _listed(self, photos: Iterable[tuple[AnyPath, str]]) -> Generator[Listed]:
        served = self.model().fingerprint
        known, held = None, frozenset[str]()
        for path, subject in photos:
            if subject != known and is_text(subject):
                known, held = subject, self.ask(calls.held(subject, served))
            yield Listed(Path(path), subject, held)

    def embed_many(
        self, photos: Iterable[AnyPath], *, at_once: int = 8, **how: Unpack[calls.Embedding]
    ) -> Generator[EmbeddedPhoto]:
        """Embed photos, so many at once; yield each as soon as it is done."""

        def one(photo: AnyPath) -> EmbeddedPhoto:
            return self._settle(embedding(Path(photo), **how))

        yield from in_threads(photos, one, at_once)

    def _settle(self, step: Call[T] | Known[T]) -> T:
        return self.ask(step) if isinstance(step, Call) else step.answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
