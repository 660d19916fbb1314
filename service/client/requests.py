"""The requests that callers send, and how their answers are read; both clients share them."""

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Literal, Protocol, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx

from models.photo import FacePolicy
from service.client.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    RejectedPhoto,
    foreign_problem,
    refusal_of,
)
from service.client.folders import (
    AnyPath,
    EmbeddedPhoto,
    EnrolledPhoto,
    Photo,
    PhotoToEnrol,
    is_text,
    people_in,
    read_file,
    read_photo,
)
from service.client.retry import Patience, Tries
from service.client.rows import MEDIA_TYPE as ROWS
from service.client.rows import FloatRows, read_rows
from service.schemas.admin import Health, ModelAnswer
from service.schemas.gallery import (
    DeletedAnswer,
    ExportAnswer,
    RenamedAnswer,
    SubjectAnswer,
    SubjectsAnswer,
    SubjectSummaryAnswer,
)
from service.schemas.recognition import (
    EmbedAnswer,
    EmbeddedImage,
    EnrollAnswer,
    EnrolledImage,
    IdentifyAnswer,
    ProblemAnswer,
    VerifyAnswer,
)

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M", bound="Answer")
T_co = TypeVar("T_co", covariant=True)


class DecisionOptions(TypedDict, total=False):
    """Name the options of a decision: an operating point or a similarity as the threshold."""

    operating_point: str
    threshold: float
    policy: FacePolicy
    liveness_token: str


class EnrolOptions(TypedDict, total=False):
    """Name the options of an enrolment: what is stored, and which objections are ignored."""

    metadata: Mapping[str, str]
    expires_at: datetime
    consent: str
    purpose: str
    policy: FacePolicy
    accept_quality: bool
    accept_inconsistent: bool
    liveness_token: str


class EmbedOptions(TypedDict, total=False):
    """Name the options of an embedding."""

    output: Literal["vector", "features"]
    policy: FacePolicy


class RequestParts(TypedDict, total=False):
    """Name what a request may contain besides its path; the names are those of httpx."""

    params: Mapping[str, str | int]
    data: Mapping[str, str]
    files: Sequence[tuple[str, bytes]]
    json: Mapping[str, object]
    headers: Mapping[str, str]


class Answer(Protocol):
    """Be read from JSON, as pydantic's models are."""

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Self: ...


class ForImages(Answer, Protocol[T_co]):
    """Hold one answer for each photo of a request."""

    @property
    def images(self) -> Sequence[T_co]: ...


class Page(Answer, Protocol[T_co]):
    """Hold the items of a page, and the cursor of the next page; None after the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | int | None: ...


class Connection(Protocol):
    """Do what a client waits for: an asyncio one suspends, the other one blocks its thread."""

    async def request(
        self, method: str, path: str, **parts: Unpack[RequestParts]
    ) -> httpx.Response: ...

    def sleep(self, wait_s: float, /) -> Awaitable[None]: ...

    async def read(self, function: Callable[[], T]) -> T:
        """Call a function that reads from the disk."""
        ...

    def results(
        self,
        items: Iterable[T] | AsyncIterable[T],
        work: Callable[[T], Coroutine[None, None, R]],
        at_once: int,
    ) -> AsyncGenerator[R]:
        """Yield the results of `work` as they complete, `at_once` running at a time."""
        ...

    async def close(self) -> None: ...


class Requests:
    """Send each request that callers use, by a connection, and read the answers."""

    def __init__(self, connection: Connection, patience: Patience | None) -> None:
        self._connection = connection
        self._patience = patience or Patience()

    async def verify(
        self, image: Photo | Sequence[Photo], subject: str, **options: Unpack[DecisionOptions]
    ) -> VerifyAnswer:
        """Decide whether one or several photos of one person show an enrolled subject."""
        fields = {"subject": subject, **options}
        return await self._post("/verify", _json(VerifyAnswer), _several(image), fields)

    async def verify_pair(
        self, source_image: Photo, target_image: Photo, **options: Unpack[DecisionOptions]
    ) -> VerifyAnswer:
        """Decide whether two photos show the same person."""
        photos = [("source_image", source_image), ("target_image", target_image)]
        return await self._post("/verify", _json(VerifyAnswer), photos, options)

    async def identify(
        self, image: Photo | Sequence[Photo], *, limit: int = 5, **options: Unpack[DecisionOptions]
    ) -> IdentifyAnswer:
        """Find the enrolled subjects that one or several photos of one person show."""
        fields = {"limit": limit, **options}
        return await self._post("/identify", _json(IdentifyAnswer), _several(image), fields)

    async def enroll(
        self,
        subject: str,
        *images: Photo,
        template_id: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[EnrolOptions],
    ) -> EnrollAnswer:
        """Store a subject's face from photos; photos that cannot be used are left out.

        Without an `idempotency_key` the request gets one of its own, so that it counts once
        however often it is sent. Raises RejectedPhoto if no photo can be used.
        """
        fields = {"subject": subject, "template_id": template_id, **options}
        headers = {"idempotency-key": idempotency_key or uuid4().hex}
        return await self._post("/enroll", _json(EnrollAnswer), _several(images), fields, headers)

    async def enroll_photo(
        self, subject: str, image: Photo, **options: Unpack[EnrolOptions]
    ) -> EnrolledImage:
        """Store a subject's face from one photo; a photo that cannot be used is an answer too."""
        try:
            fields, headers = {"subject": subject, **options}, {"idempotency-key": uuid4().hex}
            read = _first_image(EnrollAnswer)
            return await self._post("/enroll", read, _several(image), fields, headers)
        except (RejectedPhoto, Invalid) as refused:
            return EnrolledImage(image=0, status="failed", problem=_problem_of(refused))

    async def embed(self, *images: Photo, **options: Unpack[EmbedOptions]) -> EmbedAnswer:
        """Return the vectors or features of photos; nothing is stored."""
        return await self._post("/embed", _json(EmbedAnswer), _several(images), options)

    async def embed_rows(self, *images: Photo, **options: Unpack[EmbedOptions]) -> FloatRows:
        """Return the vectors or features of photos as an array of float32, faster than JSON."""
        headers = {"accept": f"{ROWS}, application/problem+json"}
        return await self._post("/embed", read_rows, _several(images), options, headers)

    async def embed_photo(self, image: Photo, **options: Unpack[EmbedOptions]) -> EmbeddedImage:
        """Return the vector of one photo; a photo that cannot be used is an answer too."""
        try:
            read = _first_image(EmbedAnswer)
            return await self._post("/embed", read, _several(image), options)
        except (RejectedPhoto, Invalid) as refused:
            return EmbeddedImage(image=0, status="failed", problem=_problem_of(refused))

    def subjects(self) -> AsyncGenerator[SubjectSummaryAnswer]:
        """Yield all subjects, sorted by name."""
        return self.each("/subjects", SubjectsAnswer)

    async def subject(self, name: str) -> SubjectAnswer:
        """Show a subject and its templates, without vectors. Raises NotFound."""
        return await self.ask("GET", path("subjects", name), SubjectAnswer)

    async def export(self, name: str) -> ExportAnswer:
        """Return everything that is stored about a subject. Raises NotFound."""
        return await self.ask("GET", path("subjects", name, "export"), ExportAnswer)

    async def rename_subject(self, name: str, to: str) -> RenamedAnswer:
        """Give a subject a name that no other subject has. Raises NotFound.

        It is not sent again after a connection broke off, since the answer would be NotFound.
        """
        route = path("subjects", name, "rename")
        return await self.ask("POST", route, RenamedAnswer, repeatable=False, json={"to": to})

    async def delete_subject(self, name: str) -> DeletedAnswer:
        """Delete a subject and return the receipt; everything is erased then. Raises NotFound.

        It is not sent again after a connection broke off, since the answer would be NotFound.
        """
        # In a query, no name can be read as another path.
        query = {"subject": name}
        return await self.ask("DELETE", "/subjects", DeletedAnswer, repeatable=False, params=query)

    async def delete_template(self, name: str, template_id: str) -> DeletedAnswer:
        """Delete one template; a subject without templates is deleted too. Raises NotFound."""
        route, query = path("subjects", name, "templates"), {"template_id": template_id}
        return await self.ask("DELETE", route, DeletedAnswer, repeatable=False, params=query)

    async def model(self) -> ModelAnswer:
        """Return the model card of the service: its bundle, thresholds and error rates."""
        return await self.ask("GET", "/model", ModelAnswer)

    async def ready(self) -> Health:
        """Ask, without retries, whether the service is ready. Raises Unavailable."""
        return await self.ask("GET", "/readyz", Health, patient=False)

    async def enroll_folder(
        self,
        source: AnyPath,
        *,
        at_once: int = 8,
        outside: bool = False,
        **options: Unpack[EnrolOptions],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol a folder with one folder per subject, or a CSV `path,identity`.

        Files and rows that cannot be used are `failed` as well. Paths in the CSV may leave its
        folder only if `outside` allows it. Raises LikenessError if there are no photos.
        """
        people = await self._connection.read(lambda: people_in(source, outside))
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
        **options: Unpack[EnrolOptions],
    ) -> AsyncGenerator[EnrolledPhoto]:
        """Enrol photos `(path, subject)`, `at_once` at a time; yield each result when it is there.

        A photo that cannot be read or used is `failed`, with its problem. A photo that its
        subject already has is not sent again, if the key may look up subjects. That lookup is
        made whenever the subject changes, so keep the photos of a subject together.
        """

        async def enrol(photo: PhotoToEnrol) -> EnrolledPhoto:
            image = await self._connection.read(photo.read)
            if isinstance(image, bytes):
                image = await self.enroll_photo(photo.subject, image, **options)
            return EnrolledPhoto(photo.path, photo.subject, image)

        to_enrol = self._to_enrol(photos)
        async with aclosing(self._connection.results(to_enrol, enrol, at_once)) as enrolled:
            async for result in enrolled:
                yield result

    async def _to_enrol(
        self, photos: Iterable[tuple[AnyPath, str]]
    ) -> AsyncGenerator[PhotoToEnrol]:
        served = (await self.model()).fingerprint
        looked_up, enrolled = None, frozenset[str]()
        for file, subject in photos:
            if subject != looked_up and is_text(subject):
                looked_up = subject
                enrolled = await self._photos_enrolled(subject, served)
            yield PhotoToEnrol(Path(file), subject, enrolled)

    async def _photos_enrolled(self, name: str, fingerprint: str) -> frozenset[str]:
        """Return the SHA-256 of the photos of a subject's valid templates by one bundle.

        The set is empty for a subject that is not enrolled or has an invalid name, and if the key
        may not look up subjects.
        """
        try:
            answer = await self.subject(name)
        except (NotFound, Forbidden, Invalid):
            return frozenset()
        now = datetime.now(UTC)
        damaged = {(each.template_id, each.fingerprint) for each in answer.damaged}
        return frozenset(
            each.image_sha256
            for each in answer.templates
            if each.fingerprint == fingerprint
            and (each.template_id, fingerprint) not in damaged
            and (each.expires_at is None or each.expires_at > now)
        )

    async def embed_many(
        self,
        photos: Iterable[AnyPath] | AsyncIterable[AnyPath],
        *,
        at_once: int = 8,
        **options: Unpack[EmbedOptions],
    ) -> AsyncGenerator[EmbeddedPhoto]:
        """Embed photos, `at_once` at a time; yield each result as soon as it is there."""

        async def embed(file: AnyPath) -> EmbeddedPhoto:
            photo = await self._connection.read(lambda: read_file(Path(file)))
            if isinstance(photo, ProblemAnswer):
                image = EmbeddedImage(image=0, status="failed", problem=photo)
            else:
                image = await self.embed_photo(photo, **options)
            return EmbeddedPhoto(Path(file), image)

        async with aclosing(self._connection.results(photos, embed, at_once)) as embedded:
            async for result in embedded:
                yield result

    async def each(self, route: str, answer: type[Page[T]], limit: int = 1000) -> AsyncGenerator[T]:
        """Yield the items of all pages; a page is requested when the one before is used up."""
        params: dict[str, str | int] = {"limit": limit}
        while True:
            page = await self._send("GET", route, _json(answer), params=params)
            for item in page.items:
                yield item
            if page.next is None:
                return
            params["after"] = page.next

    async def ask(
        self,
        method: str,
        route: str,
        answer: type[M],
        *,
        repeatable: bool = True,
        patient: bool = True,
        **parts: Unpack[RequestParts],
    ) -> M:
        """Send any request, and send it again where that can help; read its JSON answer.

        A `repeatable` request has the same effect and the same answer when it is sent twice. A
        request that is not `patient` is sent once, without retries.
        """
        patience = self._patience if patient else Patience(budget_s=0.0)
        return await self._send(method, route, _json(answer), patience, repeatable, **parts)

    async def _post(
        self,
        route: str,
        read: Callable[[httpx.Response], T],
        photos: Iterable[tuple[str, Photo]],
        fields: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        files = [(name, await self._bytes(photo)) for name, photo in photos]
        return await self._send(
            "POST", route, read, data=_texts(fields), files=files, headers=headers or {}
        )

    async def _bytes(self, photo: Photo) -> bytes:
        if isinstance(photo, bytes):
            return photo
        return await self._connection.read(lambda: read_photo(photo))

    async def _send(
        self,
        method: str,
        route: str,
        read: Callable[[httpx.Response], T],
        patience: Patience | None = None,
        repeatable: bool = True,
        **parts: Unpack[RequestParts],
    ) -> T:
        tries = Tries(patience or self._patience, repeatable)
        while True:
            try:
                return _read(await self._connection.request(method, route, **parts), read)
            except (Refused, httpx.TransportError) as failure:
                wait_s = tries.wait_s(failure)
                if wait_s is None:
                    raise
            await self._connection.sleep(wait_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()


def path(*parts: str) -> str:
    """Join parts into a path and escape all special characters.

    Dots are escaped too, since clients and proxies resolve `..` in a path.
    """
    return "".join(f"/{quote(part, safe='').replace('.', '%2E')}" for part in parts)


def _several(image: Photo | Sequence[Photo]) -> list[tuple[str, Photo]]:
    images = [image] if isinstance(image, bytes | str | PathLike) else image
    several = images if isinstance(images, Sequence) else [images]
    return [("image", each) for each in several]


def _json(answer: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: answer.model_validate_json(response.content)


def _first_image(answer: type[ForImages[T]]) -> Callable[[httpx.Response], T]:
    """Return a function that reads the answer for the only photo of a request."""
    return lambda response: answer.model_validate_json(response.content).images[0]


def _read(response: httpx.Response, read: Callable[[httpx.Response], T]) -> T:
    """Read an answer. Raises Refused."""
    if not response.is_success:
        raise refusal_of(response)
    try:
        return read(response)
    except (ValueError, LookupError) as exc:
        raise Refused(foreign_problem(response)) from exc


def _problem_of(refused: Refused) -> ProblemAnswer:
    problem = refused.problem
    return ProblemAnswer(code=problem.code, detail=problem.detail, advice=problem.advice)


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    """Return form fields without those that are None, and without False, which is the default."""
    fields = ((name, value) for name, value in given.items() if value is not None)
    return {name: _text(value) for name, value in fields if value is not False}


def _text(value: object) -> str:
    match value:
        case bool():
            return "true"
        case datetime():
            return value.isoformat()
        case Mapping():
            return json.dumps(dict(value))
        case _:
            return str(value)
