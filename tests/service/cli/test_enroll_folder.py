"""`likeness enroll-folder`, with its own store and at a running service."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.datasets.tables import read_rejected
from service.cli.app import EXIT_ERROR, app
from service.cli.terminal import EXIT_SOME_FAILED
from service.store import open_store
from tests.checkpoints import write_bundle
from tests.people import write_list, write_people
from tests.photos import photo_bytes
from tests.server import running_server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = write_people(tmp_path / "people", people=3, photos=2)
    (folder / "p00" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def enroll_folder(people: Path, *more: object) -> Result:
    rejected = people.parent / "rejected.csv"
    words = ("enroll-folder", people, "--rejected", rejected, *more)
    return CliRunner().invoke(app, [str(word) for word in words])


async def counted(store: Path) -> tuple[int, int]:
    opened = await open_store(f"sqlite:///{store}")
    try:
        counts = await opened.count()
        return counts.subjects, counts.templates
    finally:
        await opened.close()


async def test_every_folder_becomes_a_subject(people: Path, store: Path) -> None:
    result = await run(people)
    assert result.exit_code == EXIT_SOME_FAILED, result.output
    assert await counted(store) == (3, 6)


async def run(people: Path, *more: object) -> Result:
    """Run the command in a thread, since it has its own event loop."""
    return await asyncio.to_thread(enroll_folder, people, *more)


async def test_broken_files_are_listed_at_the_end_and_in_a_file(people: Path) -> None:
    result = await run(people)
    assert "p00/broken.jpg" in result.output
    (listed,) = read_rejected(people.parent / "rejected.csv")
    assert (listed.path, listed.code) == ("p00/broken.jpg", "undecodable_image")


async def test_a_second_run_enrols_nothing_twice(people: Path, store: Path) -> None:
    await run(people)
    result = await run(people)
    assert "0 enrolled, 6 enrolled already" in result.output
    assert await counted(store) == (3, 6)


async def test_a_later_run_enrols_only_new_photos(people: Path, store: Path) -> None:
    await run(people)
    (people / "new").mkdir()
    (people / "new" / "a.jpg").write_bytes(photo_bytes("grace"))
    assert "1 enrolled, 6 enrolled already" in (await run(people)).output
    assert await counted(store) == (4, 7)


async def test_one_folder_alone_is_enough(tmp_path: Path, store: Path) -> None:
    (tmp_path / "one" / "grace").mkdir(parents=True)
    (tmp_path / "one" / "grace" / "a.jpg").write_bytes(photo_bytes("grace"))
    await run(tmp_path / "one")
    assert await counted(store) == (1, 1)


async def test_a_list_names_subjects_in_any_folders(people: Path, store: Path) -> None:
    (people / "p00" / "broken.jpg").unlink()
    await run(write_list(people, people.parent / "list.csv"))
    assert await counted(store) == (3, 6)


async def test_photos_are_enrolled_again_for_another_bundle(
    people: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(people)
    monkeypatch.setenv("LIKENESS_BUNDLE", str(write_bundle(tmp_path / "other", seed=5)))
    assert "6 enrolled, 0 enrolled already" in (await run(people)).output


async def test_a_subject_may_have_a_name_with_special_characters(
    tmp_path: Path, store: Path
) -> None:
    folder = tmp_path / "one" / "Ångström & Söhne, 50 %?"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(photo_bytes("grace"))
    await run(tmp_path / "one")
    assert "0 enrolled, 1 enrolled already" in (await run(tmp_path / "one")).output


async def test_a_service_that_does_not_answer_is_one_error_line(people: Path) -> None:
    result = await run(people, "--url", "http://127.0.0.1:9")
    assert result.exit_code == EXIT_ERROR
    assert "does not answer" in result.output


def test_a_busy_service_gets_every_photo_in_the_end(
    people: Path, bundle: Path, tmp_path: Path
) -> None:
    """Send far more at once than the service accepts: it answers 429, and nothing is lost."""
    settings = {"LIKENESS_BUNDLE": str(bundle), "LIKENESS_MAX_INFLIGHT": "1"}
    with running_server(tmp_path / "served.db", settings) as server:
        result = enroll_folder(people, "--url", server.url, "--at-once", 8)
        assert result.exit_code == EXIT_SOME_FAILED, result.output
        with server.client() as client:
            items = client.get("/subjects").json()["items"]
    assert [item["templates"] for item in items] == [2, 2, 2]
