"""`likeness embed-folder --engine ray` on a real cluster of this machine."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pyarrow import Table, parquet
from typer.testing import CliRunner

from models.datasets.tables import read_rejected
from models.errors import InvalidBundle, LikenessError
from service.bulk.ray import BlockResult, Worker, WorkerSettings, checked_result
from service.cli.app import EXIT_ERROR, app
from service.cli.terminal import EXIT_SOME_FAILED
from service.settings import load_settings
from tests.checkpoints import write_bundle
from tests.people import write_people
from tests.photos import photo_bytes
from tests.ray_cluster import Head, running_head

PEOPLE, PHOTOS = 10, 6
PART = 16


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    with running_head() as head:
        yield head


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_people(tmp_path_factory.mktemp("data") / "people", PEOPLE, PHOTOS)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo_bytes("grace"))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def local(photos: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of vectors that this process made."""
    out = tmp_path_factory.mktemp("local") / "out"
    words = ["embed-folder", photos, "--out", out, "--bundle", bundle]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == EXIT_SOME_FAILED
    return out


@pytest.fixture(scope="module")
def spread(
    photos: Path, bundle: Path, head: Head, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder of vectors that the cluster made."""
    out = tmp_path_factory.mktemp("ray") / "out"
    with started(photos, out, bundle, head) as process:
        assert process.wait() == EXIT_SOME_FAILED
    return out


def started(photos: Path, out: Path, bundle: Path, head: Head) -> "subprocess.Popen[str]":
    """Start the command in a folder whose relative paths the workers cannot resolve."""
    words = ["embed-folder", photos, "--out", out, "--bundle", bundle.name]
    words += ["--engine", "ray", "--address", head.address, "--part", PART]
    return subprocess.Popen(
        [sys.executable, "-m", "service.__main__", *(str(word) for word in words)],
        cwd=bundle.parent,
        env={**head.environment, "LIKENESS_MAX_BATCH": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(folder: Path) -> Table:
    return parquet.read_table(folder).sort_by("path")


def test_rows_are_those_of_the_local_engine(local: Path, spread: Path) -> None:
    here, there = rows(local), rows(spread)
    assert there.num_rows == PEOPLE * PHOTOS
    assert there.schema.equals(here.schema, check_metadata=True)
    for column in ("path", "sha256", "box", "score"):
        assert there[column].to_pylist() == here[column].to_pylist(), column


def test_vectors_are_those_of_the_local_engine(local: Path, spread: Path) -> None:
    here, there = (np.array(rows(folder)["vector"].to_pylist()) for folder in (local, spread))
    assert (here * there).sum(axis=1).min() >= 1 - 1e-5


def test_a_part_is_in_the_order_of_its_paths(spread: Path) -> None:
    paths = parquet.read_table(spread / "part-000000.parquet")["path"].to_pylist()
    assert paths == sorted(paths)


def test_unusable_photos_are_listed_with_the_same_reasons(local: Path, spread: Path) -> None:
    here, there = (read_rejected(folder / "_rejected.csv") for folder in (local, spread))
    assert [row.code for row in there] == ["undecodable_image", "unreadable"]
    assert there == here


def test_another_engine_resumes_where_one_has_stopped(
    photos: Path, bundle: Path, spread: Path
) -> None:
    parts = sorted(spread.glob("part-*"))
    words = ["embed-folder", photos, "--out", spread, "--bundle", bundle]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert f"{PEOPLE * PHOTOS} vectors" in result.output
    assert sorted(spread.glob("part-*")) == parts


def test_a_worker_that_dies_takes_no_photo_along(
    photos: Path, bundle: Path, head: Head, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with started(photos, out, bundle, head) as process:
        while not (out / "part-000000.parquet").exists():
            assert process.poll() is None, "it ended before its worker could"
            threading.Event().wait(0.01)
        os.kill(worker_of(head), signal.SIGKILL)
        assert process.wait() == EXIT_SOME_FAILED
    paths = rows(out)["path"].to_pylist()
    assert len(paths) == len(set(paths)) == PEOPLE * PHOTOS


def worker_of(head: Head) -> int:
    """Return the process of this cluster that embeds; other clusters may run here too."""
    token = head.environment["RAY_AUTH_TOKEN"].encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            embeds = b"MapWorker" in (process / "cmdline").read_bytes()
            if embeds and token in (process / "environ").read_bytes():
                return int(process.name)
    raise AssertionError("nobody embeds")


def test_a_bundle_that_a_worker_lacks_ends_the_run(photos: Path, tmp_path: Path) -> None:
    settings = load_settings(bundle=str(tmp_path), store="sqlite:///:memory:")
    outcome = Worker(WorkerSettings(settings, 1, photos, "largest"))({"names": ["p00/0.jpg"]})[
        "outcome"
    ]
    with pytest.raises(InvalidBundle):
        checked_result(pickle.loads(pickle.dumps(outcome)), "a" * 64)


def test_a_worker_with_another_bundle_ends_the_run() -> None:
    with pytest.raises(LikenessError, match="another bundle"):
        checked_result(BlockResult([], "b" * 64), "a" * 64)


def test_a_cluster_that_is_not_there_is_named(photos: Path, bundle: Path, tmp_path: Path) -> None:
    words = ["embed-folder", photos, "--out", tmp_path, "--bundle", bundle, "--engine", "ray"]
    result = CliRunner().invoke(app, [str(w) for w in (*words, "--address", "127.0.0.1:1")])
    assert result.exit_code == EXIT_ERROR
    assert "There is no usable Ray cluster at 127.0.0.1:1" in result.stderr


def test_without_the_extra_the_command_says_how_to_get_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["embed-folder", photos, "--out", tmp_path, "--engine", "ray"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code, "the extra `ray`" in result.stderr) == (EXIT_ERROR, True)


def test_a_cluster_named_to_the_local_engine_is_refused(photos: Path, tmp_path: Path) -> None:
    words = ["embed-folder", photos, "--out", tmp_path, "--address", "auto"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code, "--engine ray" in result.stderr) == (EXIT_ERROR, True)
