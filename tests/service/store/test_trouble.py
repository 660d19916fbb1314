"""If a file is damaged, full, missing or not a store, the error is clear and no data is lost."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import StoreDamaged, StoreUnavailable, SubjectNotFound
from service.store import Store, open_store
from tests.contracts.store.samples import names_found, template
from tests.tools.reliability.store_faults import full_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likeness.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{path}")
    yield store
    await store.close()


def write_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 100)


def spoil(path: Path) -> None:
    """Overwrite every page but the first."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize("kind", ["garbage", "folder", "parent is a file", "another program's"])
async def test_path_that_cannot_be_a_store_is_refused_at_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store.db"
    match kind:
        case "garbage":
            write_garbage(path)
        case "folder":
            path.mkdir()
        case "parent is a file":
            (tmp_path / "file").touch()
            path = tmp_path / "file" / "store.db"
        case _:
            with closing(sqlite3.connect(path)) as other:
                other.execute("CREATE TABLE bookmarks (url)")
                other.commit()
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(f"sqlite:///{path}")
    assert str(path) in caught.value.sentence or "another program" in caught.value.sentence


async def test_full_disk_fails_one_enrolment_and_not_the_next(store: Store, path: Path) -> None:
    await store.enroll("ada", [template("one")])
    with full_disk(path), pytest.raises(StoreUnavailable):
        await store.enroll("bob", [template("two")])
    assert await names_found(store, "two") == ["ada"]
    await store.enroll("bob", [template("two")])
    assert await names_found(store, "two") == ["bob", "ada"]


async def test_full_disk_is_noticed_without_a_write(store: Store, path: Path) -> None:
    await store.ping()
    with full_disk(path), pytest.raises(StoreUnavailable):
        await store.ping()
    await store.ping()


async def test_removed_file_is_noticed_before_anything_is_acknowledged(
    store: Store, path: Path
) -> None:
    await store.enroll("ada", [template("one")])
    aside = path.with_suffix(".aside")
    os.rename(path, aside)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.enroll("bob", [template("two")])
    os.rename(aside, path)
    await store.ping()
    await store.enroll("bob", [template("two")])


async def test_damaged_file_fails_the_questions_and_not_the_store(store: Store, path: Path) -> None:
    await store.enroll("ada", [template("one", "t1"), template("two", "t2")])
    await store.delete_template("ada", "t2")  # checkpoints the log
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    spoil(path)
    with pytest.raises(StoreDamaged):
        await store.templates_of("ada")
    with copy.open("rb") as good, path.open("r+b") as file:
        shutil.copyfileobj(good, file)
    await store.enroll("bob", [template("three")])
    assert len((await store.templates_of("ada")).templates) == 1


async def test_deleting_survives_a_caller_that_gives_up(store: Store) -> None:
    await store.enroll("ada", [template("one")])
    asked = asyncio.create_task(store.delete_subject("ada"))
    await asyncio.sleep(0)  # lets the task start its work
    asked.cancel()
    await store.ping()  # behind it in the queue
    try:
        await store.templates_of("ada")
    except SubjectNotFound:
        assert await names_found(store, "one") == []
    else:
        assert await names_found(store, "one") == ["ada"]
