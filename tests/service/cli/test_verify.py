"""`likeness verify` decides in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import EXIT_ERROR, EXIT_NO_MATCH, app
from tests.photos import mirrored, photo_bytes


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, str]:
    contents = {
        "grace": photo_bytes("grace"),
        "again": mirrored(photo_bytes("grace")),
        "stranger": photo_bytes("astronaut"),
        "broken": b"\xff\xd8\xff broken",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in contents}


def likeness(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_verify_exits_with_0_for_a_match(photos: dict[str, str]) -> None:
    assert likeness("verify", photos["grace"], photos["again"]).exit_code == 0


def test_verify_exits_with_1_for_two_people(photos: dict[str, str]) -> None:
    assert likeness("verify", photos["grace"], photos["stranger"]).exit_code == EXIT_NO_MATCH


def test_verify_prints_the_operating_point_as_json(photos: dict[str, str]) -> None:
    result = likeness("verify", photos["grace"], photos["again"], "--json")
    assert json.loads(result.stdout)["operating_point"]["name"] == "fmr_1e-4"


def test_verify_says_what_is_wrong_with_a_photo(photos: dict[str, str]) -> None:
    result = likeness("verify", photos["grace"], photos["broken"])
    assert (result.exit_code, "damaged" in result.stderr) == (EXIT_ERROR, True)
