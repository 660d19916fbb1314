"""The client that waits, wherever it is called from."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread

import httpx
import pytest

from service.client import Likeness
from service.client.sync import iterate, run

WITHOUT_CLOSING = """
import sys
from service.client import Likeness
likeness = Likeness(sys.argv[1])
print(likeness.ready().status)
print(next(likeness.embed_many(["missing.jpg"] * 9, at_once=2)).image.status)
"""


class Ready(BaseHTTPRequestHandler):
    """Answer that the service is ready, and keep the connection open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def endless(request: httpx.Request) -> httpx.Response:
    """Answer a page of one subject, and that there is another page."""
    number = int(request.url.params.get("after", 0)) + 1
    summary = {
        "subject": f"{number}",
        "templates": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "metadata": {},
        "terms": {"consent": None, "purpose": None},
        "fingerprints": [],
        "damaged": [],
    }
    return httpx.Response(200, json={"items": [summary], "next": f"{number}"})


@pytest.fixture
def client() -> Likeness:
    return Likeness("http://likeness", transport=httpx.MockTransport(endless))


def first_names(client: Likeness, count: int) -> list[str]:
    return [subject.subject for subject in islice(client.subjects(), count)]


async def test_it_may_be_called_inside_an_event_loop(client: Likeness) -> None:
    assert first_names(client, 2) == ["1", "2"]


def test_an_iteration_goes_on_after_the_event_loop_that_it_began_in(client: Likeness) -> None:
    subjects = client.subjects()

    async def begin() -> str:
        return next(subjects).subject

    assert asyncio.run(begin()) == "1"
    assert next(subjects).subject == "2"


def test_threads_share_a_client(client: Likeness) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda count: len(first_names(client, count)), range(1, 40)))
    assert done == list(range(1, 40))


def test_it_works_in_a_forked_process(client: Likeness) -> None:
    first_names(client, 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if first_names(client, 2) == ["1", "2"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_interrupt_ends_a_wait() -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    refuse = httpx.MockTransport(lambda request: httpx.Response(503, request=request))
    client = Likeness("http://likeness", transport=refuse, sleep=interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.model()


def test_a_program_that_does_not_close_it_ends_without_a_warning(url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_CLOSING, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout.split(), ended.stderr, ended.returncode) == (["ok", "failed"], "", 0)


def test_an_iteration_outlives_its_client(url: str) -> None:
    photos = Likeness(url).embed_many(["missing.jpg"] * 3, at_once=1)
    gc.collect()
    assert [photo.image.status for photo in photos] == ["failed"] * 3


def test_a_page_is_requested_only_when_the_one_before_is_used_up() -> None:
    asked: list[httpx.Request] = []

    def count(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return endless(request)

    client = Likeness("http://likeness", transport=httpx.MockTransport(count))
    subjects = client.subjects()
    assert asked == []
    assert [next(subjects).subject, next(subjects).subject] == ["1", "2"]
    assert len(asked) == 2


def test_a_coroutine_that_suspends_is_refused() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        run(asyncio.sleep(0))


def test_an_iteration_that_is_dropped_is_cleaned_up() -> None:
    ended: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    left = iterate(numbers())
    assert next(left) == 1
    del left
    gc.collect()
    assert ended == [True]
