"""`likeness evaluate` and `likeness map`, on two people with two photos each."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import read_manifest
from models.evaluation.report import Report
from service.cli.app import EXIT_ERROR, app
from tests.checkpoints import write_bundle
from tests.photos import mirrored, photo_bytes


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    for person, data in (("grace", photo_bytes("grace")), ("ada", photo_bytes("astronaut"))):
        (folder / person).mkdir()
        (folder / person / "1.jpg").write_bytes(data)
        (folder / person / "2.jpg").write_bytes(mirrored(data))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def likeness(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_evaluate_writes_report_page_and_calibrated_copy(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    out, copy = tmp_path / "report", tmp_path / "copy"
    result = likeness(
        *("evaluate", photos, "--bundle", bundle, "--report", out, "--out", copy, "--data", "four")
    )
    assert result.exit_code == 0, result.output
    report = Report.model_validate_json((out / "report.json").read_text())
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert read_manifest(copy).calibration == report.calibration
    assert read_manifest(bundle).calibration is None


def test_points_of_a_bundle_without_any_are_not_kept(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    result = likeness(
        *("evaluate", photos, "--bundle", bundle, "--report", tmp_path / "report", "--keep-points")
    )
    assert result.exit_code == EXIT_ERROR
    assert "no operating points" in result.output


def test_a_stranger_whose_photo_is_missing_is_named(bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,kind\ngone.jpg,a\nlost.jpg,a\n")
    result = likeness("evaluate", "--strangers", table, "--bundle", bundle)
    assert result.exit_code == EXIT_ERROR
    assert "gone.jpg" in result.output


def test_a_mistake_is_one_error_line(bundle: Path, tmp_path: Path) -> None:
    result = likeness("evaluate", tmp_path, "--bundle", bundle)
    assert result.exit_code == EXIT_ERROR
    assert "a folder of photos for each person" in result.output


def test_map_writes_picture_and_page(photos: Path, bundle: Path, tmp_path: Path) -> None:
    result = likeness("map", photos, "--bundle", bundle, "--out", tmp_path / "map")
    assert result.exit_code == 0, result.output
    assert "4 faces of 2 people" in result.output
    assert {file.name for file in (tmp_path / "map").iterdir()} == {"map.html", "map.png"}
