"""What was measured of others is kept when one of them crashes."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from tests.tools.bench.apart import Unavailable, apart
from tests.tools.bench.peers import Peer, Work, measure_all

# An engine that gives each photo its vector, but for the last of so many, and dies with that.
ENGINE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    left = int(sys.argv[2])

    def do_POST(self):
        Engine.left -= 1
        if Engine.left == 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *words):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""


def work(name: str, folder: Path, photos: int) -> Work:
    engine = folder / "engine.py"
    engine.write_text(ENGINE)
    command = (sys.executable, str(engine), "{port}", str(photos))
    return Work(Peer(name, "/embed", "image/jpeg", bytes, command=command), folder, 0.02, (1,))


def test_what_was_measured_is_kept_when_an_engine_crashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    works = [work("whole", tmp_path, -1), work("broken", tmp_path, 3)]
    measure_all(works, 1, tmp_path / "table.md")
    printed = capsys.readouterr().out.splitlines()
    assert (printed[0][:21], printed[1:]) == ("whole, 1 connections:", ["broken crashed: SIGSEGV"])
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in rows[-2:]] == ["whole", "broken"]


def crash_after(figures: list[int]) -> Iterator[int]:
    yield from figures
    os.kill(os.getpid(), signal.SIGSEGV)


def test_what_a_process_told_is_kept_when_it_crashes() -> None:
    told: list[int] = []
    with pytest.raises(Unavailable, match="SIGSEGV"):
        told.extend(apart(crash_after, [1, 2], 60))
    assert told == [1, 2]


def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Unavailable, match="longer than 0 s"):
        list(apart(sleep_on, 600, 0))


def sleep_on(seconds: int) -> Iterator[int]:
    sleep(seconds)
    yield 1
