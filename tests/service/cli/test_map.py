"""`likeness map` of the gallery, with its own store and at a running service."""

import asyncio
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from service.cli.app import EXIT_ERROR, app
from service.cli.local import connect
from service.cli.map import fetch_vectors
from service.settings import load_settings
from service.store import open_store
from service.store.records import NewTemplate
from tests.checkpoints import write_bundle
from tests.server import running_server

SUBJECTS, TEMPLATES = 12, 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def store(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a store with random vectors of the bundle, and one of another bundle."""
    path = tmp_path / "likeness.db"
    asyncio.run(fill(path, load_bundle(str(bundle)).fingerprint))
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    return path


async def fill(path: Path, fingerprint: str) -> None:
    random = np.random.default_rng(0)
    opened = await open_store(f"sqlite:///{path}")
    for subject in range(SUBJECTS):
        centre = random.normal(size=16)
        templates = [
            template(centre + random.normal(0, 0.2, 16), fingerprint) for _ in range(TEMPLATES)
        ]
        await opened.enroll(f"subject {subject}", templates, None, None)
    await opened.enroll("subject 0", [template(random.normal(size=16), "f" * 64)], None, None)
    await opened.close()


def template(vector: NDArray[np.float64], fingerprint: str) -> NewTemplate:
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    digest = sha256(unit.tobytes()).hexdigest()
    return NewTemplate(digest[:32], unit, fingerprint, digest, {}, None)


def likeness(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_map_without_a_folder_draws_the_gallery(store: Path, tmp_path: Path) -> None:
    result = likeness("map", "--out", tmp_path / "map")
    assert result.exit_code == 0, result.output
    assert "36 faces of 12 people, silhouette 0." in result.output
    assert {file.name for file in (tmp_path / "map").iterdir()} == {"map.html", "map.png"}


def test_templates_of_other_bundles_are_counted_and_left_out(store: Path, tmp_path: Path) -> None:
    assert "1 templates of other bundles" in likeness("map", "--out", tmp_path / "map").output


def test_the_map_of_a_gallery_names_subjects_and_links_no_files(
    store: Path, tmp_path: Path
) -> None:
    likeness("map", "--out", tmp_path / "map")
    page = (tmp_path / "map" / "map.html").read_text()
    assert "subject 11" in page
    assert "file://" not in page


def test_map_draws_the_gallery_of_a_running_service(
    store: Path, bundle: Path, tmp_path: Path
) -> None:
    with running_server(store, {"LIKENESS_BUNDLE": str(bundle)}) as server:
        result = likeness("map", "--url", server.url, "--out", tmp_path / "map")
    assert "36 faces of 12 people" in result.output


def test_an_empty_gallery_is_one_error_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path / 'empty.db'}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    result = likeness("map", "--out", tmp_path / "map")
    assert result.exit_code == EXIT_ERROR
    assert "at least four faces" in result.output


async def test_a_large_gallery_is_sampled_by_whole_subjects(store: Path) -> None:
    async with connect(None, load_settings()) as client:
        gallery = await fetch_vectors(client, most=10)
    counts = Counter(gallery.subjects)
    assert set(counts.values()) == {TEMPLATES}
    assert 3 <= len(counts) <= 4  # until there are ten templates, those of other bundles too
