"""Messy folders and hostile names, in the commands that read and print them."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.datasets.tables import read_rejected
from service.cli.app import app
from service.cli.local import connect
from service.cli.terminal import EXIT_ERROR, EXIT_SOME_FAILED, visible
from service.settings import load_settings
from tests.checkpoints import write_bundle
from tests.folders import write_hostile
from tests.photos import photo_bytes

# Characters that control a terminal, except the ends of our own lines.
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path / 'likeness.db'}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    return tmp_path / "likeness.db"


def likeness(*words: object) -> Result:
    return CliRunner().invoke(app, [os.fsdecode(str(word)) for word in words])


async def enrolled() -> list[tuple[str, int]]:
    async with connect(None, load_settings()) as client:
        return [(one.subject, one.templates) async for one in client.subjects()]


def test_only_photos_of_people_are_enrolled_from_a_messy_folder(
    tmp_path: Path,
) -> None:
    people, listed = write_hostile(tmp_path), tmp_path / "not-used.csv"
    result = likeness("enroll-folder", people, "--rejected", listed)
    assert result.exit_code == EXIT_SOME_FAILED, result.output
    assert "4 enrolled, 3 enrolled already, 4 not used" in result.output
    assert "hidden, or of a storage system" in result.output
    assert {name for name, _ in asyncio.run(enrolled())} == {"Cyd", "a[", "ada", "grace"}
    assert len(read_rejected(listed)) == 4
    assert OBEYED.search(result.output) is None


def test_a_messy_folder_is_embedded_to_its_end(tmp_path: Path) -> None:
    people = write_hostile(tmp_path)
    (people / "a[" / "=cmd.jpg").write_bytes(b"\xff\xd8\xff broken")
    for _ in range(2):  # what was rejected is known by its name the next time
        result = likeness("embed-folder", people, "--out", tmp_path / "out")
        assert result.exit_code == EXIT_SOME_FAILED, result.output
        assert OBEYED.search(result.output) is None
    text = (tmp_path / "out" / "_rejected.csv").read_bytes()
    assert b"\n=" not in text
    assert len(read_rejected(tmp_path / "out" / "_rejected.csv")) == 2


@pytest.mark.parametrize("name", ["a[/b].jpg", "[bold].jpg", "x\x1b[2J\u202e.jpg", ":boom:.jpg"])
def test_a_photo_with_any_name_is_enrolled_and_printed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(photo_bytes("grace"))
    result = likeness("enroll", "[bold]grace", path)
    assert result.exit_code == 0, result.output
    assert visible(str(path)) in result.output
    assert OBEYED.search(result.output) is None
    as_json = likeness("enroll", "[red]grace", path, "--json")
    assert json.loads(as_json.stdout)[0]["status"] == "enrolled"


def test_a_line_of_json_stays_valid_json() -> None:
    text = "\x1b[2J\x9b\u202e\U000f0000\udcff\n"
    assert OBEYED.search(visible(text)) is None
    assert json.loads(f'"{visible(text)}"') == text


def test_names_from_a_service_are_printed_as_text() -> None:
    assert likeness("keys", "create", "[/b] [link=x]y[/link]", "--scope", "admin").exit_code == 0
    result = likeness("keys", "list")
    assert result.exit_code == 0, result.output
    assert "[/b]" in result.output


def test_a_bad_row_is_named_and_the_others_are_enrolled(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(photo_bytes("grace"))
    source = tmp_path / "list.csv"
    source.write_bytes("path;identity\nx.jpg;José\nx.jpg;\nx.jpg;a/b\n".encode("utf-16"))
    listed = tmp_path / "not-used.csv"
    result = likeness("enroll-folder", source, "--rejected", listed)
    assert result.exit_code == EXIT_SOME_FAILED, result.output
    assert "list.csv, row 3  invalid_row: `identity` is empty." in result.output
    assert "invalid_request" in result.output
    assert asyncio.run(enrolled()) == [("José", 1)]


@pytest.mark.parametrize("command", ["enroll-folder", "embed-folder", "evaluate", "map", "train"])
def test_every_command_says_what_is_missing_in_a_folder(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "notes.txt").write_text("no photo")
    result = likeness(command, tmp_path / "flat")
    assert result.exit_code == EXIT_ERROR, result.output
    assert "contains no photo" in result.output
    assert "notes.txt" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat"]  # nothing is begun
