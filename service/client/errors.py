"""Exceptions for the problems that a service answers with.

Refused              any problem: `problem` has its code and sentence, `retry_after_s` a wait
├── NotFound         404: no such subject, template, key or path
├── RejectedPhoto    the photo cannot be used; `problem.advice` is for the person who takes it
├── Invalid          a field is missing or wrong; `problem.errors` names it
├── Forbidden        401 and 403: no key, or a key without the scope
├── Busy             429: too many requests
└── Unavailable      502, 503 and 504: the service, or something it needs, is away or too slow

A connection that fails raises httpx.TransportError.
"""

from email.utils import parsedate_to_datetime
from time import time

import httpx
from pydantic import ValidationError

from models.errors import FaceError, ImageError, LikenessError, PixelBudgetSpent
from service.errors import BodyTooLarge, EnrolmentError, InvalidRequest, OtherPhoto, PhotoNeeded
from service.schemas.problem import Problem


class Refused(Exception):
    """Carry the problem that a service answered with, and how many seconds it asks to wait."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(problem.sentence)
        self.problem = problem
        self.retry_after_s = retry_after_s


class NotFound(Refused):
    """There is no such subject, template, key or path."""


class RejectedPhoto(Refused):
    """The photo cannot be used, or would make a bad template."""


class Invalid(Refused):
    """A field is missing, unknown or wrong."""


class Forbidden(Refused):
    """The service asks for a key, or for one with another scope."""


class Busy(Refused):
    """The service is at its limit of requests."""


class Unavailable(Refused):
    """The service cannot serve now."""


_BY_STATUS = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    429: Busy,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_KINDS: tuple[type[LikenessError], ...] = (ImageError, FaceError, EnrolmentError)
_OF_THE_PHOTO = {error.code for kind in _KINDS for error in kind.__subclasses__()} | {
    error.code for error in (BodyTooLarge, PixelBudgetSpent, PhotoNeeded, OtherPhoto)
}


def refusal_of(response: httpx.Response) -> Refused:
    """Return the exception for an answer that is an error."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _of(foreign_problem(response), response)
    return _of(problem, response)


def foreign_problem(response: httpx.Response) -> Problem:
    """Return a problem for an error that another program answered with, such as a proxy."""
    status, words = response.status_code, response.reason_phrase
    return Problem(
        type="about:blank",
        title=words,
        status=status,
        code=f"http_{status}",
        detail=f"{response.url.host} answered {status} {words}, and not as this service does.",
    )


def _of(problem: Problem, response: httpx.Response) -> Refused:
    kind = _BY_STATUS.get(response.status_code, Refused)
    if problem.code in _OF_THE_PHOTO:
        kind = RejectedPhoto
    elif problem.code == InvalidRequest.code:
        kind = Invalid
    return kind(problem, _seconds(response.headers.get("retry-after")))


def _seconds(text: str | None) -> float | None:
    """Read Retry-After: seconds, or a date from some proxies (RFC 9110, section 10.2.3)."""
    if text is None or text.isdecimal():
        return None if text is None else float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None
