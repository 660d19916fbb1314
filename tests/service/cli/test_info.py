"""`likeness info` shows the model card of the service."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{path}")
    return path


def likeness(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_info_shows_bundle_device_precision_and_points() -> None:
    card = json.loads(likeness("info", "--json").stdout)
    assert {"name", "device", "precision", "operating_points"} <= set(card)


def test_info_marks_the_default_operating_point() -> None:
    assert ", default\n" in likeness("info").stdout


def test_the_engine_of_the_settings_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_ENGINE", "openvino")
    assert json.loads(likeness("info", "--json").stdout)["engine"] == "openvino"


def test_info_opens_no_database(store: Path) -> None:
    likeness("info")
    assert not store.exists()


def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_DETECTR", "none")
    assert "LIKENESS_DETECTOR" in likeness("info").stderr


def test_a_missing_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDLE", "/nowhere")
    assert "/nowhere" in likeness("info").stderr
