"""Errors of every layer have CompreFace's form, and its status tells whose fault it is."""

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import LikenessError
from service.compat.compreface.access import is_compreface
from service.compat.compreface.errors import translate
from service.compat.translation import ProblemTranslator
from service.edge.boundary import Boundary
from service.edge.problems import problem
from service.errors import BodyTooLarge, QueueFull, StoreUnavailable
from service.observe.metrics import Metrics
from tests.service.asgi_client import Client

PATH = "/api/v1/recognition/recognize"


def refusing(error: Exception) -> ASGIApp:
    """Return an app that always fails so, behind the layers that are outermost."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not isinstance(error, LikenessError):
            raise error
        await problem(error)(scope, receive, send)

    return ProblemTranslator(Boundary(app, Metrics()), is_compreface, translate)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (QueueFull("Full."), 429, "0"),
        (BodyTooLarge("Too large."), 413, "0"),
        (StoreUnavailable("Away."), 503, "41"),
        (ZeroDivisionError(), 500, "41"),
    ],
)
async def test_status_says_whose_fault_it_is(error: Exception, status: int, code: str) -> None:
    client = Client(path=PATH)
    await client.run(refusing(error))
    assert (client.status, client.code) == (status, code)
    assert client.answered_headers["content-type"] == "application/json"
    body = b"".join(message.get("body", b"") for message in client.got)
    assert client.answered_headers["content-length"] == str(len(body))


async def test_when_to_come_back_is_kept() -> None:
    client = Client(path=PATH)
    await client.run(refusing(QueueFull("Full.")))
    assert client.answered_headers["retry-after"] == "1"
    assert "x-request-id" in client.answered_headers


async def test_other_paths_keep_their_problems() -> None:
    client = Client(path="/verify")
    await client.run(refusing(QueueFull("Full.")))
    assert (client.status, client.code) == (429, "queue_full")
