"""`likeness enroll` and `enroll-folder` print refusals and warnings."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.datasets.tables import read_rejected
from service.cli.app import app
from service.cli.terminal import EXIT_ERROR, EXIT_SOME_FAILED
from tests.photos import mirrored, photo_bytes


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path / 'likeness.db'}")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Write a folder of one subject; its last photo shows another person."""
    folder = tmp_path / "people"
    (folder / "grace").mkdir(parents=True)
    photos = photo_bytes("grace"), mirrored(photo_bytes("grace")), photo_bytes("astronaut")
    for name, photo in zip(("a.jpg", "b.jpg", "c.png"), photos, strict=True):
        (folder / "grace" / name).write_bytes(photo)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, str]:
    """Write a photo of a person, and a file that is not a photo."""
    contents = {"grace": photo_bytes("grace"), "broken": b"\xff\xd8\xff broken"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in contents}


def likeness(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_enroll_continues_after_a_broken_photo(photos: dict[str, str]) -> None:
    result = likeness("enroll", "grace", photos["broken"], photos["grace"], "--json")
    assert [image["status"] for image in json.loads(result.stdout)] == ["failed", "enrolled"]


def test_enroll_exits_with_1_if_a_photo_failed(photos: dict[str, str]) -> None:
    assert likeness("enroll", "grace", photos["broken"]).exit_code == EXIT_SOME_FAILED


def test_a_service_that_does_not_run_is_one_error_line(photos: dict[str, str]) -> None:
    result = likeness("enroll", "g", photos["grace"], "--url", "http://127.0.0.1:9")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (EXIT_ERROR, 1)


def test_enroll_names_the_code_of_a_refusal(people: Path) -> None:
    result = likeness("enroll", "grace", *sorted((people / "grace").iterdir()))
    assert result.exit_code == EXIT_SOME_FAILED
    refused = result.output.splitlines()[-1]
    assert "c.png  inconsistent: " in refused


def test_enroll_shows_accepted_photos_and_similar_subjects(people: Path) -> None:
    photos = sorted((people / "grace").iterdir())
    accepted = likeness("enroll", "grace", *photos, "--accept-inconsistent")
    assert accepted.exit_code == 0, accepted.output
    assert "inconsistent: " in accepted.output
    second = likeness("enroll", "hopper", photos[1])
    assert "possible_duplicate: " in second.output
    assert "like grace, 0." in second.output


def test_enroll_folder_lists_refused_photos_until_they_are_accepted(people: Path) -> None:
    rejected = people.parent / "rejected.csv"
    words = ("enroll-folder", people, "--rejected", rejected, "--at-once", 1)
    first = likeness(*words)
    assert "2 enrolled, 0 enrolled already, 1 not used" in first.output
    assert [(row.path, row.code) for row in read_rejected(rejected)] == [
        ("grace/c.png", "inconsistent")
    ]
    second = likeness(*words, "--accept-inconsistent")
    assert "1 enrolled, 2 enrolled already, 0 not used" in second.output
    assert "warning   grace/c.png  inconsistent: " in second.output
