"""A real server's log: one form of line, no personal data, and no endless repeats."""

import hashlib
import json
import logging
import socket
from dataclasses import dataclass

import httpx
import pytest

from service.observe.logs import KIND, LEFT_OUT, RepeatFilter
from tests.photos import photo_bytes
from tests.server import running_server

SUBJECT = "ada-lovelace"


@dataclass(frozen=True, slots=True)
class Logged:
    """Hold the log of a server, and the key that must not be in it."""

    lines: list[dict[str, object]]
    text: str
    key: str
    key_id: str

    def request(self, request_id: str) -> dict[str, object]:
        (line,) = (
            line
            for line in self.lines
            if line.get("request_id") == request_id and line["logger"] == "likeness.requests"
        )
        return line


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("logs")
    log = folder / "stderr"
    to_file = ("sh", "-c", 'exec "$@" 2>"$0"', str(log))
    with running_server(folder / "db", {"LIKENESS_LOG_FORMAT": "json"}, within=to_file) as server:
        with server.client() as client:
            made = client.post("/keys", json={"name": "shop", "scopes": ["verify", "admin"]})
            key = made.json()["key"]
            client.headers["x-api-key"] = key
            _serve(client)
        _send_garbage(httpx.URL(server.url).port or 0)
        assert server.stop() == 0
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return Logged(lines, text, key, made.json()["key_id"])


def _serve(client: httpx.Client) -> None:
    def ids(name: str) -> dict[str, str]:
        return {"x-request-id": name}

    client.get(f"/subjects/{SUBJECT}?after={SUBJECT}", headers=ids("unknown"))
    photo = {"image": ("photo", photo_bytes("grace"))}
    client.post("/verify", data={"subject": SUBJECT}, files=photo, headers=ids("stranger"))
    client.get("/livez", headers=ids("probe"))


def _send_garbage(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x00\x01\r\n\r\n")
        while connection.recv(4096):
            continue


def test_a_request_is_one_line_that_says_how_it_went(logged: Logged) -> None:
    line = logged.request("unknown")
    assert (line["method"], line["route"]) == ("GET", "/subjects/{subject}")
    assert (line["status"], line["problem"]) == (404, "subject_not_found")
    digest = hashlib.sha256(logged.key_id.encode()).hexdigest()
    assert (line["level"], line["key"]) == ("info", digest[:12])
    assert isinstance(line["seconds"], float)


def test_names_queries_and_keys_are_not_logged(logged: Logged) -> None:
    assert logged.request("stranger")["route"] == "/verify"
    assert SUBJECT not in logged.text
    assert logged.key not in logged.text
    assert logged.key_id not in logged.text
    assert "after" not in logged.text


def test_probes_that_succeed_are_not_logged(logged: Logged) -> None:
    assert all(line.get("request_id") != "probe" for line in logged.lines)


def test_lines_of_uvicorn_have_the_same_form(logged: Logged) -> None:
    said = [line for line in logged.lines if line["logger"] == "uvicorn.error"]
    assert [line["level"] for line in said] == ["warning"]


def test_every_line_says_when_and_how_bad(logged: Logged) -> None:
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in logged.lines)


class Time:
    """Return a time that only the test changes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(message: str, level: int = logging.WARNING, kind: object = None) -> logging.LogRecord:
    made = logging.LogRecord("likeness", level, "", 0, message, (), None)
    setattr(made, KIND, kind)
    return made


def test_twenty_of_a_kind_pass_and_a_later_one_tells_of_the_rest() -> None:
    time = Time()
    repeats = RepeatFilter(time)
    assert sum(repeats.filter(record("again")) for _ in range(100)) == 20
    assert repeats.filter(record("something else"))
    time.now += 10
    later = record("again")
    assert repeats.filter(later)
    assert getattr(later, LEFT_OUT) == 80


def test_requests_are_bounded_by_the_kind_that_they_say() -> None:
    repeats = RepeatFilter()
    refused = [record(f"GET {at}", logging.INFO, ("GET", 401)) for at in range(100)]
    assert sum(repeats.filter(each) for each in refused) == 20
    assert all(repeats.filter(record("served", logging.INFO)) for _ in range(100))
