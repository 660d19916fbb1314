"""Which libraries a command loads: heavy ones only if it computes something."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.people import write_people
from tests.photos import photo_bytes

HEAVY = (
    *("torch", "transformers", "cv2", "openvino", "onnx", "PIL", "scipy", "sklearn", "jinja2"),
    *("psycopg", "uvicorn"),
)
# Runs commands one after the other, up to the first that loads something heavy.
PROGRAM = f"""
import json, sys
from service.__main__ import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["likeness", *arguments]
    try:
        main()
    except SystemExit:
        pass
    heavy = sorted({set(HEAVY)!r} & set(sys.modules))
    if heavy:
        break
print("loaded:", *([*arguments, *heavy] if heavy else ()))
"""
COMMANDS = (
    "serve",
    "info",
    "verify",
    "enroll",
    "enroll-folder",
    "embed-folder",
    "evaluate",
    "map",
    "train",
    "reembed",
    "switch",
    "forget",
    "train-quality",
    "bundle new",
    "cohort build",
    "keys create",
    "names list",
    "audit verify",
    "master-key rotate",
)


class OtherServer(BaseHTTPRequestHandler):
    """Answer every request with something that is not an answer of the service."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(418)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "grace.jpg"
    path.write_bytes(photo_bytes("grace"))
    return str(path)


def loaded(folder: Path, *commands: tuple[str, ...]) -> str:
    """Return the first command that loads something heavy, and what; empty if none does."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        env=os.environ | {"LIKENESS_STORE": f"sqlite:///{folder / 'likeness.db'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines()[-1].removeprefix("loaded:").strip()


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    helps = ((*command.split(), "--help") for command in COMMANDS)
    assert loaded(tmp_path, ("--help",), ("--version",), *helps) == ""


def test_a_mistake_is_found_before_anything_heavy_is_loaded(photo: str, tmp_path: Path) -> None:
    mistakes = (
        ("verify", "missing.jpg", photo),
        ("verify", "--no-such-option"),
        ("enroll", "grace"),
        ("embed-folder", "missing"),
        ("evaluate", "missing"),
        ("cohort", "build", str(tmp_path)),
        ("no-such-command",),
    )
    assert loaded(tmp_path, *mistakes) == ""


def test_a_command_for_the_store_loads_no_encoder(tmp_path: Path) -> None:
    commands = (
        ("keys", "create", "ops", "--scope", "admin"),
        ("keys", "list"),
        ("keys", "revoke", "unknown"),
        ("names", "list"),
        ("names", "rename", "ada", "grace"),
        ("audit", "list"),
        ("audit", "verify"),
        ("master-key", "new"),
        ("master-key", "rotate"),
    )
    assert loaded(tmp_path, *commands) == ""
    assert (tmp_path / "likeness.db").exists()


def test_a_command_for_a_service_elsewhere_loads_nothing_heavy(
    url: str, photo: str, tmp_path: Path
) -> None:
    people = write_people(tmp_path / "people", people=1, photos=1)
    commands = (
        ("verify", photo, photo),
        ("enroll", "grace", photo),
        ("enroll-folder", str(people), "--rejected", str(tmp_path / "rejected.csv")),
        ("keys", "list"),
    )
    assert loaded(tmp_path, *((*command, "--url", url) for command in commands)) == ""


def test_a_command_that_computes_loads_what_it_needs(tmp_path: Path) -> None:
    assert loaded(tmp_path, ("info",)).startswith("info")
