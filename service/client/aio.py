"""A client of the service that awaits answers: `service.client` for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from models.datasets.folders import is_text
from service.client import DEFAULT_URL, TIMEOUT_S, calls, headers
from service.client.call import Call, Page
from service.client.errors import Refused
from service.client.folders import (
    AnyPath,
    EmbeddedPhoto,
    EnrolledPhoto,
    Known,
    Listed,
    embedding,
    in_tasks,
    people_in,
)
from service.client.retry import Patience, Tries
from service.schemas.gallery import SubjectSummaryAnswer

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


def _awaits(
    make: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncLikeness", P], Coroutine[None, None, T]]:
    @wraps(make)
    async def method(self: "AsyncLikeness", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Photos are read there.
        return await self.ask(await asyncio.to_thread(make, *args, **kwargs))

    return method


class AsyncLikeness:
    """Ask a service and await its answers; all else is as with `Likeness`."""

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
            base_url=base_url, headers=headers(key), timeout=timeout_s, transport=transport
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
        """Send a call, and again where that can help."""
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
        """Yield the items of all pages, asking for one when the one before is used up."""
        after: C | None = None
        while True:
            answer = await self.ask(page(after))
            for item in answer.items:
                yield item
            after = answer.next
            if after is None:
                return

    def subjects(self) -> AsyncGenerator[SubjectSummaryAnswer]:
        """Yield all subjects in the order of their names."""
        return self.each(calls.subjects_page)

    async def enroll_folder(
        self,
        source: AnyPath,
        *,
        at_once: int = 8,
        outside: bool = False,
        **terms: Unpack[calls.Terms],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol a folder per subject, or a CSV, as `Likeness.enroll_folder` does."""
        listed = await asyncio.to_thread(people_in, source, outside)
        for failed in listed.failed:
            yield failed
        enrolled = self.enroll_many(listed.photos, at_once=at_once, **terms)
        async with aclosing(enrolled) as done:
            async for photo in done:
                yield photo

    async def enroll_many(
        self,
        photos: Iterable[tuple[AnyPath, str]],
        *,
        at_once: int = 8,
        **terms: Unpack[calls.Terms],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol photos `(path, subject)`, as `Likeness.enroll_many` does."""

        async def one(listed: Listed) -> EnrolledPhoto:
            return await self._settle(await asyncio.to_thread(listed.step, **terms))

        async with aclosing(in_tasks(self._listed(photos), one, at_once)) as done:
            async for photo in done:
                yield photo

    async def _listed(self, photos: Iterable[tuple[AnyPath, str]]) -> AsyncGenerator[Listed]:
        served = (await self.model()).fingerprint
        known, held = None, frozenset[str]()
        for path, subject in photos:
            if subject != known and is_text(subject):
                known, held = subject, await self.ask(calls.held(subject, served))
            yield Listed(Path(path), subject, held)

    async def embed_many(
        self,
        photos: Iterable[AnyPath] | AsyncIterable[AnyPath],
        *,
        at_once: int = 8,
        **how: Unpack[calls.Embedding],
    ) -> AsyncGenerator[EmbeddedPhoto]:
        """Embed photos, so many at once; yield each as soon as it is done."""

        async def one(photo: AnyPath) -> EmbeddedPhoto:
            return await self._settle(await asyncio.to_thread(embedding, Path(photo), **how))

        async with aclosing(in_tasks(photos, one, at_once)) as done:
            async for embedded in done:
                yield embedded

    async def _settle(self, step: Call[T] | Known[T]) -> T:
        return await self.ask(step) if isinstance(step, Call) else step.answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
