"""`likeness embed-folder` on a few photos and a tiny random encoder."""

import os
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from models.datasets.tables import read_rejected
from service.cli.app import EXIT_ERROR, app
from service.cli.terminal import EXIT_SOME_FAILED
from tests.checkpoints import write_bundle
from tests.photos import mirrored, photo_bytes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(photo_bytes("grace"))
    (folder / "deep" / "b.jpg").write_bytes(mirrored(photo_bytes("grace")))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def embed_folder(photos: Path, bundle: Path, out: Path, *more: object) -> Result:
    words = ("embed-folder", photos, "--bundle", bundle, "--out", out, *more)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_vectors_of_all_photos_are_written(photos: Path, bundle: Path, tmp_path: Path) -> None:
    result = embed_folder(photos, bundle, tmp_path / "out")
    assert result.exit_code == EXIT_SOME_FAILED, result.output
    table = parquet.read_table(tmp_path / "out" / "part-000000.parquet")
    assert table["path"].to_pylist() == ["a.jpg", "deep/b.jpg"]
    assert np.linalg.norm(table["vector"].to_pylist()[0]) == pytest.approx(1, abs=1e-3)
    held = load_bundle(str(bundle)).fingerprint
    assert table.schema.metadata[b"fingerprint"].decode() == held


def test_npz_is_written_on_request(photos: Path, bundle: Path, tmp_path: Path) -> None:
    embed_folder(photos, bundle, tmp_path / "out", "--format", "npz")
    with np.load(tmp_path / "out" / "part-000000.npz") as part:
        assert part["vector"].shape == (2, 16)


def test_broken_files_are_listed_at_the_end_and_in_a_file(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    result = embed_folder(photos, bundle, tmp_path / "out")
    assert "broken.jpg" in result.output
    (listed,) = read_rejected(tmp_path / "out" / "_rejected.csv")
    assert (listed.path, listed.code) == ("broken.jpg", "undecodable_image")


def test_a_second_run_embeds_only_new_photos(photos: Path, bundle: Path, tmp_path: Path) -> None:
    embed_folder(photos, bundle, tmp_path / "out")
    (photos / "c.jpg").write_bytes(photo_bytes("astronaut"))
    result = embed_folder(photos, bundle, tmp_path / "out")
    assert "3 vectors" in result.output
    assert "1 new, 2 already there" in result.output
    table = parquet.read_table(tmp_path / "out" / "part-000001.parquet")
    assert table["path"].to_pylist() == ["c.jpg"]


def test_a_rejected_file_is_tried_again_only_on_request(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    embed_folder(photos, bundle, tmp_path / "out")
    (photos / "broken.jpg").write_bytes(photo_bytes("astronaut"))
    assert "2 vectors" in embed_folder(photos, bundle, tmp_path / "out").output
    again = embed_folder(photos, bundle, tmp_path / "out", "--retry-rejected")
    assert "3 vectors" in again.output
    assert not (tmp_path / "out" / "_rejected.csv").exists()


def test_vectors_of_another_bundle_are_refused(photos: Path, bundle: Path, tmp_path: Path) -> None:
    embed_folder(photos, bundle, tmp_path / "out")
    other = write_bundle(tmp_path / "other", seed=5)
    result = embed_folder(photos, other, tmp_path / "out")
    assert result.exit_code == EXIT_ERROR
    assert "Name another folder" in result.output.replace("\n", " ")


def test_a_folder_of_vectors_reads_as_one_table(photos: Path, bundle: Path, tmp_path: Path) -> None:
    embed_folder(photos, bundle, tmp_path / "out")
    assert parquet.read_table(tmp_path / "out")["path"].to_pylist() == ["a.jpg", "deep/b.jpg"]


def test_a_photo_with_a_name_that_is_not_utf8_is_left_out(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo_bytes("grace"))
    for _ in range(2):
        assert "2 vectors" in embed_folder(photos, bundle, tmp_path / "out").output
    assert len(read_rejected(tmp_path / "out" / "_rejected.csv")) == 2


def test_a_folder_that_cannot_be_written_is_one_error_line(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    result = embed_folder(photos, bundle, photos / "a.jpg" / "out")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (EXIT_ERROR, 1)
