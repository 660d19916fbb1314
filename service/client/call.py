"""Describe one request and how its answer is read.

Both clients, `Likeness` and `AsyncLikeness`, send the same calls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from service.client.errors import Refused, foreign_problem, refusal_of

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """Describe a request; `photos` are `(field, bytes)`, and `fields` are the other form fields.

    `excuse` turns an error into an answer, or raises it. A `repeatable` request has the same
    effect and the same answer when it is sent twice. A request that is not `patient` is sent
    once, without retries. The repr shows no photos and no names.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T_co]
    params: Mapping[str, str | int] | None = None
    fields: Mapping[str, str] | None = field(default=None, repr=False)
    photos: Sequence[tuple[str, bytes]] = field(default=(), repr=False)
    json: Mapping[str, object] | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = None
    excuse: Callable[[Refused], T_co] | None = None
    repeatable: bool = True
    patient: bool = True

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Build the request for a client."""
        return client.build_request(
            self.method,
            self.path,
            params=self.params,
            data=self.fields,
            files=list(self.photos) or None,
            json=self.json,
            headers=self.headers,
        )

    def then(self, turn: Callable[[T_co], R]) -> "Call[R]":
        """Return a call that sends the same request and converts its answer by `turn`."""
        excuse = self.excuse
        return Call(
            self.method,
            self.path,
            lambda response: turn(self.read(response)),
            params=self.params,
            fields=self.fields,
            photos=self.photos,
            json=self.json,
            headers=self.headers,
            excuse=None if excuse is None else lambda refused: turn(excuse(refused)),
            repeatable=self.repeatable,
            patient=self.patient,
        )

    def excused(self, excuse: "Callable[[Refused], T_co]") -> "Call[T_co]":
        """Return a call that turns an error into an answer by `excuse`."""
        return replace(self, excuse=excuse)

    def answer(self, response: httpx.Response) -> T_co:
        """Read the answer of a response. Raises Refused."""
        if not response.is_success:
            refused = refusal_of(response)
            if self.excuse is None:
                raise refused
            return self.excuse(refused)
        try:
            return self.read(response)
        except (ValueError, LookupError) as exc:
            raise Refused(foreign_problem(response)) from exc


class Page(Protocol[T_co, C_co]):
    """Hold the items of a page, and the cursor of the next page; None after the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> C_co | None: ...


def parse_as(model: type[M]) -> Callable[[httpx.Response], M]:
    """Return a function that reads a JSON answer into a model."""
    return lambda response: model.model_validate_json(response.content)


def path(*parts: str) -> str:
    """Join parts into a path and escape all special characters.

    Dots are escaped too, since clients and proxies resolve `..` in a path.
    """
    return "".join(f"/{quote(part, safe='').replace('.', '%2E')}" for part in parts)
