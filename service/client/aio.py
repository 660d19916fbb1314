"""The asyncio client, `AsyncLikeness`."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from service.client import calls
from service.client.call import Call, Page
from service.client.errors import Refused
from service.client.folders import (
    EmbeddedPhoto,
    EnrolledPhoto,
    LocalAnswer,
    PhotoToEnrol,
    embedding,
    in_tasks,
    people_in,
)
from service.client.photos import AnyPath, is_text
from service.client.retry import Patience, Tries
from service.schemas.gallery import SubjectSummaryAnswer

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0


def key_headers(key: str | None) -> dict[str, str]:
    """Return the headers that show a key; without one, that of LIKENESS_API_KEY."""
    key = os.environ.get("LIKENESS_API_KEY") if key is None else key
    return {"authorization": f"Bearer {key}"} if key else {}


def _awaits(
    make: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncLikeness", P], Coroutine[None, None, T]]:
    @wraps(make)
    async def method(self: "AsyncLikeness", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Making a call reads its photos from the disk.
        return await self.ask(await asyncio.to_thread(make, *args, **kwargs))

    return method


class AsyncLikeness:
    """Send requests to a service and await the answers; has the same methods as `Likeness`."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )
        self._patience = patience or Patience()
        self._sleep = sleep

    verify = _awaits(calls.verify)
    verify_pair = _awaits(calls.verify_pair)
    identify = _awaits(calls.identify)
    enroll = _awaits(calls.enroll)
    enroll_photo = _awaits(calls.enroll_photo)
    embed = _awaits(calls.embed)
    embed_rows = _awaits(calls.embed_rows)
    embed_photo = _awaits(calls.embed_photo)
    subject = _awaits(calls.subject)
    export = _awaits(calls.export)
    rename_subject = _awaits(calls.rename_subject)
    delete_subject = _awaits(calls.delete_subject)
    delete_template = _awaits(calls.delete_template)
    model = _awaits(calls.model)
    ready = _awaits(calls.ready)

    async def ask(self, call: Call[T]) -> T:
        """Send a request, and send it again where that can help."""
        tries = Tries(self._patience, call)
        while True:
            try:
                return call.answer(await self._http.send(call.request(self._http)))
            except (Refused, httpx.TransportError) as failure:
                wait_s = tries.wait_s(failure)
                if wait_s is None:
                    raise
            await self._sleep(wait_s)

    async def each(self, page: Callable[[C | None], Call[Page[T, C]]]) -> AsyncGenerator[T]:
        """Yield the items of all pages; a page is requested when the one before is used up."""
        after: C | None = None
        while True:
            answer = await self.ask(page(after))
            for item in answer.items:
                yield item
            after = answer.next
            if after is None:
                return

    def subjects(self) -> AsyncGenerator[SubjectSummaryAnswer]:
        """Yield all subjects, sorted by name."""
        return self.each(calls.subjects_page)

    async def enroll_folder(
        self,
        source: AnyPath,
        *,
        at_once: int = 8,
        outside: bool = False,
        **options: Unpack[calls.EnrolOptions],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol one folder per subject, or a CSV, as `Likeness.enroll_folder` does."""
        people = await asyncio.to_thread(people_in, source, outside)
        for failed in people.failed:
            yield failed
        async with aclosing(
            self.enroll_many(people.photos, at_once=at_once, **options)
        ) as enrolled:
            async for photo in enrolled:
                yield photo

    async def enroll_many(
        self,
        photos: Iterable[tuple[AnyPath, str]],
        *,
        at_once: int = 8,
        **options: Unpack[calls.EnrolOptions],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol photos `(path, subject)`, as `Likeness.enroll_many` does."""

        async def enrol(photo: PhotoToEnrol) -> EnrolledPhoto:
            return await self._settle(await asyncio.to_thread(photo.step, **options))

        async with aclosing(in_tasks(self._to_enrol(photos), enrol, at_once)) as enrolled:
            async for result in enrolled:
                yield result

    async def _to_enrol(
        self, photos: Iterable[tuple[AnyPath, str]]
    ) -> AsyncGenerator[PhotoToEnrol]:
        served = (await self.model()).fingerprint
        looked_up, enrolled = None, frozenset[str]()
        for path, subject in photos:
            if subject != looked_up and is_text(subject):
                looked_up = subject
                enrolled = await self.ask(calls.photos_enrolled(subject, served))
            yield PhotoToEnrol(Path(path), subject, enrolled)

    async def embed_many(
        self,
        photos: Iterable[AnyPath] | AsyncIterable[AnyPath],
        *,
        at_once: int = 8,
        **options: Unpack[calls.EmbedOptions],
    ) -> AsyncGenerator[EmbeddedPhoto]:
        """Embed photos, `at_once` at a time; yield each result as soon as it is there."""

        async def embed(photo: AnyPath) -> EmbeddedPhoto:
            return await self._settle(await asyncio.to_thread(embedding, Path(photo), **options))

        async with aclosing(in_tasks(photos, embed, at_once)) as embedded:
            async for result in embedded:
                yield result

    async def _settle(self, step: Call[T] | LocalAnswer[T]) -> T:
        return await self.ask(step) if isinstance(step, Call) else step.answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
