"""`likeness train` on synthetic people and a tiny random encoder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import load_bundle, read_manifest
from service.cli.app import EXIT_ERROR, app
from service.cli.train import user_cache
from tests.checkpoints import write_bundle, write_hub_cache
from tests.people import write_list, write_people


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep features out of the user's own cache; all tests here share them."""
    folder = tmp_path_factory.getbasetemp() / "train-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("encoder") / "tiny")


def likeness(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def smoke(photos: Path, encoder: Path, out: Path, *more: object) -> Result:
    return likeness("train", photos, "--encoder", encoder, "--out", out, "--smoke", *more)


def test_train_writes_a_bundle_that_loads(photos: Path, encoder: Path, tmp_path: Path) -> None:
    result = smoke(photos, encoder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert load_bundle(str(tmp_path / "out")).head is not None


def test_train_prints_every_epoch_and_where_the_bundle_is(
    photos: Path, encoder: Path, tmp_path: Path
) -> None:
    result = smoke(photos, encoder, tmp_path / "out")
    assert result.output.count("head epoch") == 6
    assert f"LIKENESS_BUNDLE={tmp_path / 'out'}" in result.output.replace("\n", "")


def test_train_reads_a_list_of_paths_and_identities(
    photos: Path, encoder: Path, tmp_path: Path
) -> None:
    listed = write_list(photos, photos.parent / "people.csv")
    assert smoke(listed, encoder, tmp_path / "out").exit_code == 0


def test_train_uses_a_margin_loss(photos: Path, encoder: Path, tmp_path: Path) -> None:
    assert smoke(photos, encoder, tmp_path / "out", "--loss", "arcface").exit_code == 0
    assert "loss arcface" in (tmp_path / "out" / "README.md").read_text()


def test_photos_that_cannot_be_used_are_one_error_line(encoder: Path, tmp_path: Path) -> None:
    result = smoke(tmp_path, encoder, tmp_path / "out")
    assert result.exit_code == EXIT_ERROR
    assert "path,identity" in result.output.replace("\n", " ")


def test_an_invalid_encoder_is_one_error_line(photos: Path, tmp_path: Path) -> None:
    result = smoke(photos, tmp_path, tmp_path / "out")
    assert result.exit_code == EXIT_ERROR
    assert "Traceback" not in result.output


def test_features_are_kept_in_the_users_cache(
    photos: Path, encoder: Path, tmp_path: Path, cache: Path
) -> None:
    smoke(photos, encoder, tmp_path / "out")
    assert user_cache() == cache / "likeness"
    assert list((cache / "likeness" / "features").rglob("*.npz"))


def test_a_hub_id_trains_and_the_bundle_refers_to_the_commit(photos: Path, tmp_path: Path) -> None:
    """Run in its own process, since the hub's client reads the place of its cache only once."""
    name = "openai/clip-vit-base-patch32"
    commit = write_hub_cache(tmp_path / "hf", name)
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf")}
    words = ["train", str(photos), "--encoder", name, "--out", str(tmp_path / "out"), "--smoke"]
    trained = subprocess.run(
        [sys.executable, "-m", "service.__main__", *words], env=environment, capture_output=True
    )
    assert trained.returncode == 0, trained.stderr.decode()
    reference = read_manifest(tmp_path / "out").encoder
    assert (reference.source, reference.revision) == (name, commit)
    served = subprocess.run(
        [sys.executable, "-m", "service.__main__", "info", "--json"],
        env=environment | {"LIKENESS_BUNDLE": str(tmp_path / "out")},
        capture_output=True,
    )
    assert served.returncode == 0, served.stderr.decode()
