"""One request and how its answer is read, sent by nobody yet.

Both clients, the one that waits and the one that awaits, send the same calls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from service.client.errors import Refused, foreign, refusal

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """Describe a request; `photos` are `(field, bytes)`, beside which `fields` are form fields.

    `excuse` makes an answer of a refusal, or raises it. A `repeatable` request does no more
    when it is sent twice, and answers the same. One that is not `patient` is sent once: it asks
    how things are now. Photos and names stay out of what is printed of a call.
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
        """Build the request as this client sends it."""
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
        """Return a call of the same request whose answer is turned into something else."""
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
        """Return a call that makes an answer of a refusal."""
        return replace(self, excuse=excuse)

    def answer(self, response: httpx.Response) -> T_co:
        """Read what came back; raises Refused."""
        if not response.is_success:
            refused = refusal(response)
            if self.excuse is None:
                raise refused
            return self.excuse(refused)
        try:
            return self.read(response)
        except (ValueError, LookupError) as exc:
            raise Refused(foreign(response)) from exc


class Page(Protocol[T_co, C_co]):
    """Hold some of many things, and what to ask the rest by; None if these were the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> C_co | None: ...


def of(model: type[M]) -> Callable[[httpx.Response], M]:
    """Return what reads an answer as JSON."""
    return lambda response: model.model_validate_json(response.content)


def path(*parts: str) -> str:
    """Return a path of these parts, whatever characters are in them.

    Dots too: clients and proxies take `..` in a path for the way up.
    """
    return "".join(f"/{quote(part, safe='').replace('.', '%2E')}" for part in parts)
