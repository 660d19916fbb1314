"""The command line, against services opened in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import EXIT_ERROR, EXIT_NO_MATCH, app
from service.cli.terminal import EXIT_SOME_FAILED
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


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{path}")
    return path


def likeness(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_info_names_bundle_device_precision_and_points() -> None:
    card = json.loads(likeness("info", "--json").stdout)
    assert {"name", "device", "precision", "operating_points"} <= set(card)


def test_info_reads_well() -> None:
    assert ", default\n" in likeness("info").stdout


def test_the_engine_asked_for_is_the_engine_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_ENGINE", "openvino")
    assert json.loads(likeness("info", "--json").stdout)["engine"] == "openvino"


def test_info_opens_no_database(store: Path) -> None:
    likeness("info")
    assert not store.exists()


def test_verify_exits_with_0_for_a_match(photos: dict[str, str]) -> None:
    assert likeness("verify", photos["grace"], photos["again"]).exit_code == 0


def test_verify_exits_with_1_for_strangers(photos: dict[str, str]) -> None:
    assert likeness("verify", photos["grace"], photos["stranger"]).exit_code == EXIT_NO_MATCH


def test_verify_prints_its_evidence_as_json(photos: dict[str, str]) -> None:
    result = likeness("verify", photos["grace"], photos["again"], "--json")
    assert json.loads(result.stdout)["operating_point"]["name"] == "fmr_1e-4"


def test_verify_names_what_is_wrong_with_a_photo(photos: dict[str, str]) -> None:
    result = likeness("verify", photos["grace"], photos["broken"])
    assert (result.exit_code, "damaged" in result.stderr) == (EXIT_ERROR, True)


def test_enroll_goes_on_after_a_broken_photo(photos: dict[str, str]) -> None:
    result = likeness("enroll", "grace", photos["broken"], photos["grace"], "--json")
    assert [image["status"] for image in json.loads(result.stdout)] == ["failed", "enrolled"]


def test_enroll_fails_if_any_photo_did(photos: dict[str, str]) -> None:
    assert likeness("enroll", "grace", photos["broken"]).exit_code == EXIT_SOME_FAILED


def test_a_service_that_is_not_there_is_one_line(photos: dict[str, str]) -> None:
    result = likeness("enroll", "g", photos["grace"], "--url", "http://127.0.0.1:9")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (EXIT_ERROR, 1)


def test_serve_refuses_strangers_without_keys() -> None:
    result = likeness("serve", "--host", "0.0.0.0")
    assert (result.exit_code, "--without-keys" in result.stderr) == (EXIT_ERROR, True)


def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_DETECTR", "none")
    assert "LIKENESS_DETECTOR" in likeness("info").stderr


def test_a_bundle_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDLE", "/nowhere")
    assert "/nowhere" in likeness("info").stderr
