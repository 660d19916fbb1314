"""`kill -9` in the middle of a folder: run again, and every photo is there once."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from service.cli.terminal import EXIT_SOME_FAILED
from service.store import open_store
from tests.checkpoints import write_bundle
from tests.people import write_people

PEOPLE, PHOTOS = 40, 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_people(tmp_path_factory.mktemp("data") / "people", PEOPLE, PHOTOS)
    (folder / "p00" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def start(words: list[object], bundle: Path, store: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "LIKENESS_BUNDLE": str(bundle),
        "LIKENESS_STORE": f"sqlite:///{store}",
        "LIKENESS_FACE_POLICY": "largest",
        # Small ones, so that neither engine has taken every photo before it is killed.
        "LIKENESS_MAX_BATCH": "4",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "service.__main__", *(str(word) for word in words)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: "subprocess.Popen[bytes]", begun: Callable[[], bool]) -> None:
    """Kill it as soon as it has begun; it must not have ended by then."""
    while not begun():
        assert process.poll() is None, "it ended before it could be killed"
        threading.Event().wait(0.01)
    process.kill()
    assert process.wait() == -9


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_embed_folder_goes_on_after_kill_9(
    photos: Path, bundle: Path, tmp_path: Path, engine: str
) -> None:
    out = tmp_path / "out"
    words: list[object] = ["embed-folder", photos, "--out", out, "--part", 32, "--engine", engine]
    first = start(words, bundle, tmp_path / "x.db")
    kill_when(first, lambda: (out / "part-000001.parquet").exists())
    assert start(words, bundle, tmp_path / "x.db").wait() == EXIT_SOME_FAILED
    paths = Counter(
        path
        for part in out.glob("*.parquet")
        for path in parquet.read_table(part)["path"].to_pylist()
    )
    assert set(paths.values()) == {1}
    assert len(paths) == PEOPLE * PHOTOS


async def test_enroll_folder_goes_on_after_kill_9(
    photos: Path, bundle: Path, tmp_path: Path
) -> None:
    store = tmp_path / "likeness.db"
    words: list[object] = ["enroll-folder", photos, "--rejected", tmp_path / "rejected.csv"]
    first = start(words, bundle, store)
    wal = store.with_name("likeness.db-wal")
    kill_when(first, lambda: wal.exists() and wal.stat().st_size > 300_000)
    assert start(words, bundle, store).wait() == EXIT_SOME_FAILED
    opened = await open_store(f"sqlite:///{store}")
    try:
        counts = await opened.count()
    finally:
        await opened.close()
    assert (counts.subjects, counts.templates) == (PEOPLE, PEOPLE * PHOTOS)
