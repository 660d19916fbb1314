"""Reach a service: one that runs at a URL, or one opened here for a single command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx
from pydantic import BaseModel

from service.app import create_app
from service.problems import Problem
from service.settings import Settings

T = TypeVar("T", bound=BaseModel)

TIMEOUT_S = 60.0


@asynccontextmanager
async def connect(url: str | None, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client; without a URL the app is opened in this process and closed afterwards.

    Either way requests take the same path, so a command decides as the service does.
    """
    if url is not None:
        key = settings.api_key
        headers = {} if key is None else {"x-api-key": key.get_secret_value()}
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, headers=headers) as client:
            yield client
        return
    # Who opens the store itself needs no key.
    app = create_app(settings.model_copy(update={"without_keys": True}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://likeness", timeout=TIMEOUT_S
        ) as client:
            yield client


class Refused(Exception):
    """Carry the problem a service answered with, and how long it asks to wait."""

    def __init__(self, problem: Problem, retry_after_s: float | None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry_after_s = retry_after_s


def answer(response: httpx.Response, model: type[T]) -> T:
    """Read an answer; raises Refused with the problem if it is none."""
    if response.is_success:
        return model.model_validate_json(response.content)
    wait = response.headers.get("retry-after")
    problem = Problem.model_validate_json(response.content)
    raise Refused(problem, None if wait is None else float(wait))
