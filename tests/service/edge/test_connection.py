"""What a connection may cost, over real sockets: late, large, endless and silent requests."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.api.needs import needs
from service.edge.admission import Admission, Gate
from service.edge.boundary import SAFE, Boundary
from service.edge.guard import KEY_ID
from service.edge.problems import install
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.service.observe.test_metrics import value
from tests.service.serving import serving

HEAD = b"GET /hello HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"POST /embed HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
PATIENT_S = 20.0


class Watched(Metrics):
    """Tell when a connection was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    def connection_ended(self, reason: str) -> None:
        super().connection_ended(reason)
        self.ended.set()


def app_of(metrics: Metrics, settings: Settings) -> FastAPI:
    app, gate = FastAPI(), Gate(settings.max_inflight, metrics)
    gate.open()
    install(app)
    app.add_middleware(Admission, gate=gate, settings=settings, policies=[needs])
    app.add_middleware(Boundary, metrics=metrics)
    released = asyncio.Event()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/huge")
    async def huge() -> Response:
        return Response(bytes(2**26))

    @app.get("/wait")
    async def wait() -> str:
        await released.wait()
        return "waited"

    @app.get("/release")
    async def release() -> str:
        released.set()
        return "released"

    @app.get("/known")
    async def known(request: Request) -> str:
        request.scope["state"][KEY_ID] = "of a key"
        return "known"

    @app.post("/embed")
    async def embed(request: Request) -> int:
        return len(await request.body())

    return app


class Wire:
    """Speak to a server byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer: status, headers, body."""
        async with asyncio.timeout(PATIENT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def hears(self) -> None:
        """Wait for the first byte of an answer."""
        async with asyncio.timeout(PATIENT_S):
            await self._reader.readexactly(1)

    async def code(self) -> tuple[int, str]:
        status, _, body = await self.answer()
        return status, json.loads(body)["code"]

    async def rest(self) -> bytes:
        """Read until the server ends the connection."""
        async with asyncio.timeout(PATIENT_S):
            with suppress(ConnectionResetError):
                return await self._reader.read()
        return b""

    async def hears_nothing_more(self) -> bool:
        """Wait until the server ends the connection; tell whether it said nothing."""
        return await self.rest() == b""


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def served(**limits: object) -> AsyncIterator[tuple[str, Watched]]:
    settings, metrics = Settings.model_validate(limits), Watched()
    async with serving(app_of(metrics, settings), metrics, settings) as url:
        yield url, metrics


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with served() as (url, _):
        yield url


# Late heads


async def test_head_that_stops_arriving_is_a_408() -> None:
    async with served(header_timeout_s=0.2) as (url, metrics), wired(url) as wire:
        await wire.say(HEAD)
        assert await wire.code() == (408, "head_timeout")
        assert await wire.hears_nothing_more()
    assert value(metrics, "likeness_connections_ended_total", reason="head_timeout") == 1


async def test_second_head_that_stops_arriving_is_a_408() -> None:
    async with served(header_timeout_s=0.2) as (url, _), wired(url) as wire:
        await wire.say(HEAD + b"\r\n")
        assert (await wire.answer())[0] == 200
        await wire.say(HEAD)
        assert await wire.code() == (408, "head_timeout")
        assert await wire.hears_nothing_more()


async def test_head_that_drips_gets_no_more_time_than_one_that_stops() -> None:
    async with served(header_timeout_s=0.5) as (url, _), wired(url) as wire:
        answer = asyncio.create_task(wire.code())
        while not answer.done():
            await wire.say(b"x")
            await asyncio.wait([answer], timeout=0.05)
        assert answer.result()[0] in (400, 408)


async def test_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with served(header_timeout_s=0.2) as (url, _), wired(url) as wire:
        assert await wire.hears_nothing_more()


async def test_empty_lines_between_requests_keep_no_connection_open() -> None:
    async with served(header_timeout_s=0.2) as (url, _), wired(url) as wire:
        await wire.say(HEAD + b"\r\n")
        await wire.answer()
        await wire.say(b"\r\n")
        assert await wire.hears_nothing_more()


async def test_idle_connection_outlasts_the_time_for_a_head() -> None:
    async with served(header_timeout_s=0.1) as (url, _), wired(url) as wire:
        await wire.say(HEAD + b"\r\n")
        await wire.answer()
        await asyncio.sleep(0.3)
        await wire.say(HEAD + b"\r\n")
        assert (await wire.answer())[0] == 200


async def test_idle_connection_is_closed_in_the_end() -> None:
    async with served(keep_alive_s=1) as (url, _), wired(url) as wire:
        await wire.say(HEAD + b"\r\n")
        await wire.answer()
        assert await wire.hears_nothing_more()


async def test_answer_that_takes_long_is_not_cut_by_the_time_for_a_head() -> None:
    async with served(header_timeout_s=0.1) as (url, _), wired(url) as wire:
        # The start of a second head is late while the first request is being served.
        await wire.say(HEAD.replace(b"hello", b"wait") + b"\r\n" + HEAD)
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{url}/release")
        status, _, body = await wire.answer()
        assert (status, body) == (200, b'"waited"')
        assert await wire.hears_nothing_more()


async def test_500_slow_connections_do_not_keep_others_from_being_served() -> None:
    async with served(header_timeout_s=60) as (url, _), AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(wired(url)) for _ in range(500)]
        for wire in slow:
            await wire.say(HEAD)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENT_S) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/hello") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}


# Large heads


@pytest.mark.parametrize(
    "rest",
    [
        b"x-long: " + b"a" * 2**17,
        b"x-name-" + b"a" * 2**17,
        b"x: y\r\n" * 101 + b"\r\n",
        b"x-long: " + b"a" * 40_000 + b"\r\n\r\n",
    ],
    ids=["endless value", "endless name", "many headers", "one long header"],
)
async def test_head_that_is_too_large_is_a_431(url: str, rest: bytes) -> None:
    async with wired(url) as wire:
        await wire.say(HEAD + rest)
        assert await wire.code() == (431, "head_too_large")
        assert await wire.hears_nothing_more()


async def test_path_that_is_too_long_is_a_431(url: str) -> None:
    async with wired(url) as wire:
        await wire.say(b"GET /" + b"a" * 50_000)
        assert await wire.code() == (431, "head_too_large")


async def test_head_of_an_ordinary_size_is_served(url: str) -> None:
    async with wired(url) as wire:
        await wire.say(HEAD + b"cookie: " + b"a" * 16_000 + b"\r\n" + b"x: y\r\n" * 90 + b"\r\n")
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize("rest", [b"0\r\nx-trailer: ", b"0\r\n", b"1;extension="])
async def test_endless_trailer_or_extension_is_a_431(url: str, rest: bytes) -> None:
    async with wired(url) as wire:
        await wire.say(
            b"POST /embed HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + rest
        )
        await wire.say((b"a: b\r\n" if rest.endswith(b"\n") else b"aaaaaa") * 200_000)
        assert await wire.code() == (431, "head_too_large")


async def test_trailers_pass_for_no_headers(url: str) -> None:
    async with wired(url) as wire:
        await wire.say(CHUNKED + b"1\r\na\r\n0\r\nx-request-id: trailing\r\n\r\n")
        status, headers, body = await wire.answer()
        assert (status, body) == (200, b"1")
        assert headers["x-request-id"] != "trailing"


# What is no request


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/9.9\r\n\r\n",
        b"GET \xff HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nbad header: x\r\n\r\n",
        b"GET /hello HTTP/1.1\r\na: b\0c\r\n\r\n",
        b"POST /embed HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /embed HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /embed HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /embed HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /embed HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(13),
)
async def test_what_is_no_request_is_a_400(url: str, data: bytes) -> None:
    async with wired(url) as wire:
        await wire.say(data)
        assert await wire.code() == (400, "malformed_request")
        assert await wire.hears_nothing_more()


async def test_refusal_carries_the_same_headers_as_other_answers(url: str) -> None:
    async with wired(url) as wire:
        await wire.say(b"nonsense\r\n\r\n")
        _, headers, _ = await wire.answer()
    assert headers["content-type"] == "application/problem+json"
    assert SAFE.items() <= headers.items()
    assert "server" not in headers


async def test_requests_sent_ahead_are_answered_in_order(url: str) -> None:
    async with wired(url) as wire:
        await wire.say((HEAD + b"\r\n") * 8)
        assert [(await wire.answer())[0] for _ in range(8)] == [200] * 8


async def test_more_sent_ahead_than_is_sensible_ends_the_connection(url: str) -> None:
    async with wired(url) as wire:
        await wire.say((HEAD + b"\r\n") * 1000)
        heard = await wire.rest()
    assert 1 <= heard.count(b"HTTP/1.1 200 OK") < 20


async def test_nonsense_behind_a_request_does_not_cut_its_answer(url: str) -> None:
    async with wired(url) as wire:
        await wire.say(HEAD.replace(b"hello", b"wait") + b"\r\n" + b"nonsense\r\n\r\n")
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{url}/release")
        status, _, body = await wire.answer()
        assert (status, body) == (200, b'"waited"')
        assert await wire.hears_nothing_more()


async def test_request_whose_body_goes_wrong_has_no_second_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as (url, _), wired(url) as wire:
        head = HEAD.replace(b"hello", b"wait") + b"transfer-encoding: chunked\r\n\r\n"
        await wire.say(head + b"4\r\nbody\r\n")
        await wire.say(b"zz\r\n")
        assert await wire.code() == (400, "malformed_request")
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{url}/release")
        assert await wire.hears_nothing_more()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# Many connections


async def test_one_connection_too_many_ends_the_one_that_is_idle_longest() -> None:
    async with served(max_connections=8, drain_s=0) as (url, metrics), AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(url)) for _ in range(8)]
        await wires[0].say(HEAD.replace(b"hello", b"wait") + b"\r\n")
        for wire in wires[1:]:
            await wire.say(HEAD + b"\r\n")
            await wire.answer()
        newest = await stack.enter_async_context(wired(url))
        await newest.say(HEAD + b"\r\n")
        assert (await newest.answer())[0] == 200
        assert await wires[1].hears_nothing_more()
        await wires[2].say(HEAD + b"\r\n")
        assert (await wires[2].answer())[0] == 200
    assert value(metrics, "likeness_connections_ended_total", reason="crowded_out") == 1


async def test_connection_that_has_shown_a_key_makes_way_for_none_of_strangers() -> None:
    async with served(max_connections=8, drain_s=0) as (url, _), AsyncExitStack() as stack:
        known, *strangers = [await stack.enter_async_context(wired(url)) for _ in range(8)]
        await known.say(HEAD.replace(b"hello", b"known") + b"\r\n")
        await known.answer()
        for wire in strangers:
            await wire.say(HEAD + b"\r\n")
            await wire.answer()
        newest = await stack.enter_async_context(wired(url))
        await newest.say(HEAD + b"\r\n")
        assert (await newest.answer())[0] == 200
        await known.say(HEAD + b"\r\n")
        assert (await known.answer())[0] == 200
        assert await strangers[0].hears_nothing_more()


async def test_one_connection_too_many_is_refused_where_none_is_idle() -> None:
    async with served(max_connections=8, drain_s=0) as (url, _), AsyncExitStack() as stack:
        for _ in range(8):
            wire = await stack.enter_async_context(wired(url))
            await wire.say(HEAD.replace(b"hello", b"wait") + b"\r\n")
        newest = await stack.enter_async_context(wired(url))
        assert await newest.code() == (429, "too_many_requests")


async def test_connection_that_is_not_read_makes_way_where_connections_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.edge.connection._SLOW_S", 0.0)
    async with served(max_connections=8, drain_s=0) as (url, metrics), AsyncExitStack() as stack:
        for _ in range(8):
            deaf = await stack.enter_async_context(wired(url))
            await deaf.say(HEAD.replace(b"hello", b"huge") + b"\r\n")
            # What it has heard so far is all that it ever reads.
            await deaf.hears()
        newest = await stack.enter_async_context(wired(url))
        await newest.say(HEAD + b"\r\n")
        assert (await newest.answer())[0] == 200
    assert value(metrics, "likeness_connections_ended_total", reason="crowded_out") == 1


async def test_client_that_does_not_read_its_answer_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.edge.connection._STALL_S", 0.2)
    async with served() as (url, metrics):
        port = int(url.rpartition(":")[2])
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            await loop.sock_sendall(deaf, b"GET /huge HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.wait_for(metrics.ended.wait(), PATIENT_S)
    assert value(metrics, "likeness_connections_ended_total", reason="stalled") == 1
