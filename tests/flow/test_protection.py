"""Template protection as whoever runs the service meets it: start, rotation, refusal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.store.master_keys import new_master_key
from tests.checkpoints import write_bundle
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server

METADATA = {"plate": "B-XY 1234"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def settings(tmp_path: Path, bundle: Path) -> dict[str, str]:
    """Return settings with a master key in a file."""
    (tmp_path / "master.key").write_text(new_master_key())
    return {
        "LIKENESS_STORE": f"sqlite:///{tmp_path}/likeness.db",
        "LIKENESS_BUNDLE": str(bundle),
        "LIKENESS_MASTER_KEYS_FILE": str(tmp_path / "master.key"),
    }


def likeness(settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.__main__", *words],
        env={**os.environ, **settings, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def enrol(server: RunningServer) -> None:
    with server.client() as client:
        photo = photo_bytes("grace")
        form = {"subject": "grace", "metadata": '{"plate": "B-XY 1234"}'}
        answer = client.post("/enroll", data=form, files={"image": photo})
        assert answer.status_code == 201, answer.text


def exported(server: RunningServer) -> object:
    with server.client() as client:
        return client.get("/subjects/grace/export").json()["metadata"]


def test_rotation_at_a_running_service_leaves_nothing_to_the_old_key(
    settings: dict[str, str], tmp_path: Path
) -> None:
    store, file = settings["LIKENESS_STORE"], Path(settings["LIKENESS_MASTER_KEYS_FILE"])
    old, new = file.read_text(), likeness(settings, "master-key", "new").stdout
    with running_server(store, settings) as server:
        enrol(server)
        assert server.stop() == 0
    assert b"B-XY 1234" not in (tmp_path / "likeness.db").read_bytes()
    file.write_text(f"{new}\n{old}")
    with running_server(store, settings) as server:
        rotated = likeness(settings, "master-key", "rotate", "--url", server.url)
        assert rotated.stdout == "1 keys wrapped anew, 0 subjects sealed, 0 left\n"
        assert server.stop() == 0
    file.write_text(new)
    with running_server(store, settings) as server:
        assert exported(server) == METADATA


def test_gallery_in_clear_is_sealed_without_a_running_service(settings: dict[str, str]) -> None:
    store = settings["LIKENESS_STORE"]
    clear = {k: v for k, v in settings.items() if k != "LIKENESS_MASTER_KEYS_FILE"}
    with running_server(store, clear) as server:
        enrol(server)
        assert server.stop() == 0
    assert "1 subjects sealed, 0 left" in likeness(settings, "master-key", "rotate").stdout
    with running_server(store, settings) as server:
        assert exported(server) == METADATA


def test_service_does_not_start_without_the_right_master_key(settings: dict[str, str]) -> None:
    store = settings["LIKENESS_STORE"]
    with running_server(store, settings) as server:
        enrol(server)
        assert server.stop() == 0
    for wrong in (new_master_key(), "no key"):
        refused = likeness(
            {**settings, "LIKENESS_MASTER_KEYS_FILE": "", "LIKENESS_MASTER_KEYS": wrong},
            "serve",
            "--port",
            "0",
        )
        assert (refused.returncode, "LIKENESS_MASTER_KEYS" in refused.stderr) == (2, True)
        assert wrong not in refused.stderr
    unset = likeness({**settings, "LIKENESS_MASTER_KEYS_FILE": ""}, "serve", "--port", "0")
    assert (unset.returncode, "settings give none" in unset.stderr) == (2, True)


def test_rotation_without_a_master_key_says_what_to_set(settings: dict[str, str]) -> None:
    refused = likeness({**settings, "LIKENESS_MASTER_KEYS_FILE": ""}, "master-key", "rotate")
    assert (refused.returncode, "LIKENESS_MASTER_KEYS" in refused.stderr) == (2, True)


def test_consent_is_kept_and_can_be_required(settings: dict[str, str]) -> None:
    required = {**settings, "LIKENESS_REQUIRE_CONSENT": "true"}
    with running_server(settings["LIKENESS_STORE"], required) as server, server.client() as client:
        photo = {"image": photo_bytes("grace")}
        without = client.post("/enroll", data={"subject": "grace"}, files=photo)
        assert (without.status_code, without.json()["code"]) == (422, "invalid_request")
        assert {error["field"] for error in without.json()["errors"]} == {"consent", "purpose"}
        terms = {"consent": "form 12", "purpose": "door 3"}
        answer = client.post("/enroll", data={"subject": "grace", **terms}, files=photo)
        assert answer.status_code == 201
        for path in ("/subjects/grace", "/subjects/grace/export"):
            assert client.get(path).json()["terms"] == terms
        assert client.get("/subjects").json()["items"][0]["terms"] == terms
