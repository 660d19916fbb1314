"""What the examples print is what they say."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs import EXAMPLES, README
from tests.photos import jpeg, mirrored, open_photo, photo_bytes
from tests.server import RunningServer, running_server

PROGRAMS = {
    "sh": ("bash", "-euo", "pipefail"),
    "python": (sys.executable, "-W", "error"),
    "js": ("node",),
}


@dataclass(frozen=True, slots=True)
class Example:
    """Hold a block of code, and what is shown below it, if anything."""

    page: str
    language: str
    code: str
    prints: str | None


def examples(page: Path, *languages: str) -> list[Example]:
    """Return the blocks of a page in these languages, in its order."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    following = [*blocks[1:], ("", "")]
    return [
        Example(page.name, language, code, shown if kind == "text" else None)
        for (language, code), (kind, shown) in zip(blocks, following, strict=True)
        if language in languages
    ]


FIRST_CALLS = [one for one in examples(README, "sh") if "curl" in one.code]
ALL = [*examples(EXAMPLES, *PROGRAMS), *FIRST_CALLS, *examples(README, "python")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the photos that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    photos = {
        "grace.jpg": photo_bytes("grace"),
        "another.jpg": mirrored(photo_bytes("grace")),
        "stranger.jpg": jpeg(open_photo("astronaut")),
    }
    for name, photo in photos.items():
        (folder / name).write_bytes(photo)
    portraits = folder / "build" / "portraits"
    portraits.mkdir(parents=True)
    for portrait, name in (("grace", "grace.jpg"), ("grace-mirrored", "another.jpg")):
        (portraits / f"{portrait}.jpg").write_bytes(photos[name])
    for subject, name in (("grace", "another.jpg"), ("eileen", "stranger.jpg")):
        (folder / "people" / subject).mkdir(parents=True)
        (folder / "people" / subject / "1.jpg").write_bytes(photos[name])
    return folder


@pytest.mark.parametrize(
    "example",
    [pytest.param(one, id=f"{one.page}-{at}-{one.language}") for at, one in enumerate(ALL)],
)
def test_an_example_prints_what_is_shown(
    example: Example, server: RunningServer, folder: Path
) -> None:
    program = PROGRAMS[example.language]
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]}")
    path = (
        folder / {"sh": "example.sh", "python": "example.py", "js": "example.mjs"}[example.language]
    )
    path.write_text(example.code.replace("http://127.0.0.1:8000", server.url))
    environment = {name: at for name, at in os.environ.items() if not name.startswith("LIKENESS_")}
    done = subprocess.run(
        [*program, path], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert example.prints in (None, done.stdout)


def test_every_language_has_an_example() -> None:
    assert {example.language for example in ALL} == set(PROGRAMS)
    assert {example.language for example in ALL if example.page == "README.md"} == {"sh", "python"}
