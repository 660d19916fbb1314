"""Mistakes of operators, a change that is taken back, and commands in other folders."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from service.__main__ import EXIT_STOPPED
from service.cli.app import app
from service.cli.terminal import EXIT_ERROR
from service.settings import load_settings
from service.store import open_store, place_of
from tests.checkpoints import write_bundle
from tests.people import write_people


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return write_bundle(folder / "old"), write_bundle(folder / "new", seed=5)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, bundles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    monkeypatch.setenv("LIKENESS_STORE", url)
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundles[0]))
    monkeypatch.chdir(tmp_path)
    return url


def likeness(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


async def switched_to(store: str) -> str | None:
    opened = await open_store(store)
    try:
        return await opened.switched_to()
    finally:
        await opened.close()


def test_the_same_command_switches_back(
    tmp_path: Path, bundles: tuple[Path, Path], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_STORE_IMAGES", "true")
    assert likeness("enroll-folder", write_people(tmp_path / "people", 2, 1)).exit_code == 0
    old, new = bundles
    assert likeness("reembed", "--to", new).exit_code == 0
    for to in (new, old, new):
        done = likeness("switch", "--to", to)
        assert done.exit_code == 0, done.output
        assert asyncio.run(switched_to(store)) == load_bundle(str(to)).fingerprint


def test_commands_and_service_use_the_same_default_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIKENESS_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    expected = str(tmp_path / "home" / "likeness" / "likeness.db")
    listed = likeness("keys", "list")
    assert listed.exit_code == 0, listed.output
    assert f"store  {expected}" in listed.stderr
    assert not (tmp_path / "elsewhere" / "data").exists()
    (tmp_path / "data").mkdir()  # as earlier releases made it
    (tmp_path / "data" / "likeness.db").touch()
    monkeypatch.chdir(tmp_path)
    assert place_of(load_settings().store) == str(tmp_path / "data" / "likeness.db")


@pytest.mark.parametrize("password", ["secret", "sec@ret"])
def test_an_unreachable_database_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("LIKENESS_STORE", f"postgresql://me:{password}@127.0.0.1:9/faces")
    result = likeness("keys", "list")
    assert result.exit_code == EXIT_ERROR
    assert "The database faces at 127.0.0.1, port 9 cannot be opened" in result.output
    assert "ret" not in result.output


@pytest.mark.parametrize("name", ["sfaze", "old-bundles/mine", "", "ab" * 32])
@pytest.mark.parametrize("words", [("forget", "--bundle"), ("switch", "--to"), ("reembed", "--to")])
def test_an_unknown_bundle_is_an_error_that_lists_the_installed_ones(
    tmp_path: Path, words: tuple[str, str], name: str
) -> None:
    (tmp_path / "old-bundles").mkdir()  # no owner of repositories on a hub
    began = time.monotonic()
    result = likeness(*words, name)
    assert result.exit_code == EXIT_ERROR
    assert f"There is no bundle `{name}`" in result.output
    assert "`sface`" in result.output
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "words",
    [
        *(("keys", "list", "--url", url) for url in ("x", "http://[::1", "http://127.0.0.1:99999")),
        ("keys", "revoke", ""),
        ("enroll", os.fsdecode(b"\xff"), "photo"),
        ("map", "--out", "photo"),
        ("evaluate", "people", "--report", "photo"),
        ("evaluate", "people", "--out", "photo"),
        ("evaluate", "people", "--bundle", "damaged"),
        ("embed-folder", "people", "--out", "photo"),
        ("embed-folder", "people", "--out", "vectors"),
        ("enroll-folder", "people", "--rejected", "people"),
        ("enroll-folder", "photo"),
        ("reembed", "--to", "sface", "--missing", "people"),
        ("train", "people", "--out", "photo"),
        ("train", "people", "--device", "nonsense"),
        ("train-quality", "people", "--out", "photo"),
        ("cohort", "build", "people", "--out", "photo"),
        ("bundle", "new", "photo", "--out", "new"),
        ("audit", "verify", "--receipt", "x"),
        ("serve", "--port", "70000"),
    ],
    ids=lambda words: " ".join(words).encode(errors="replace").decode(),
)
def test_a_mistake_is_one_error_line_in_every_command(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_people(tmp_path / "people", 2, 1)
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff no photo")
    for name, file in (("damaged", "bundle.json"), ("vectors", "_about.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{")
    result = likeness(*words)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == EXIT_ERROR
    assert sum(line.startswith("error ") for line in result.output.splitlines()) == 1


def test_ctrl_c_ends_a_command_and_its_processes_without_a_traceback(tmp_path: Path) -> None:
    words = ["evaluate", write_people(tmp_path / "people", 4, 3), "--report", tmp_path / "report"]
    with subprocess.Popen(
        [sys.executable, "-m", "service.__main__", *(str(word) for word in words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests in the background ignore the signal, and their child processes inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 2:  # workers, who are interrupted as well
            assert process.poll() is None
            threading.Event().wait(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    assert "Traceback" not in out + err
