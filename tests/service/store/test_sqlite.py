"""SQLite fulfils the contract of the store, and protects its file."""

import asyncio
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from service.errors import InvalidSettings, StoreInUse, StoreUnavailable
from service.store import Idempotency, Store, Vault, open_store
from service.store.sql.store import SqlStore
from service.store.sqlite.engine import SqliteEngine
from tests.contracts.store.damage import SealedDamageContract
from tests.contracts.store.inside import run
from tests.contracts.store.samples import MASTER, Clock, names_found, template, vector_of
from tests.contracts.store.seal import SealContract
from tests.contracts.store.signing import SigningContract
from tests.contracts.store.whole import LastingStoreContract, StoreContract

REMAINS = b"remains of a row that was moved"

OPEN_IN_ANOTHER_PROCESS = """
import asyncio, sys
from service.errors import StoreInUse
from service.store import open_store
try:
    asyncio.run(open_store(sys.argv[1]))
except StoreInUse as error:
    print(error.sentence)
"""


class TestSqliteFile(LastingStoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/contract.db"


class TestSealedSqliteFile(
    SealContract, SealedDamageContract, SigningContract, LastingStoreContract
):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/contract.db"

    @pytest.fixture
    def vault(self) -> Vault:
        return Vault([MASTER])


class TestSqliteMemory(StoreContract):
    @pytest.fixture
    def url(self) -> str:
        return "sqlite:///:memory:"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "likeness.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{path}")
    yield store
    await store.close()


def files_of(path: Path) -> bytes:
    """Return the bytes of the database, its log and its shared memory."""
    names = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    return b"".join(name.read_bytes() for name in names if name.exists())


def is_in(image: str, raw: bytes) -> bool:
    """Tell whether four consecutive numbers of an image's vector are in some bytes."""
    vector = vector_of(image, 128).tobytes()
    return any(vector[at : at + 16] in raw for at in range(0, len(vector) - 15, 16))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a small disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def enrol_forever(store: Store) -> None:
    for at in count(1000):
        await store.enroll(f"name {at}", [template(f"{at}", photo=os.urandom(9000))])


def leave_remains(path: Path) -> None:
    """Write bytes between the cell pointers of a page and its rows, as SQLite may leave them."""
    raw = bytearray(path.read_bytes())
    page = next(at for at in range(4096, len(raw), 4096) if raw[at] == 13)
    raw[page + 1000 : page + 1000 + len(REMAINS)] = REMAINS
    path.write_bytes(raw)


def fill(path: Path) -> None:
    """Fill the disk."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_garbage(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"this is no database, " * 100)


# URLs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://user:hunter2@host/db", "`mysql` is not supported"),
        ("likeness.db", "not a URL"),
        ("sqlite://likeness.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////tmp/", "names no file"),
    ],
)
async def test_other_url_is_refused_and_says_what_is_supported(url: str, says: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        await open_store(url)
    assert says in caught.value.sentence
    assert "LIKENESS_STORE" in caught.value.sentence
    assert "sqlite:///relative.db" in caught.value.sentence
    assert "hunter2" not in caught.value.sentence


async def test_three_slashes_are_relative_and_four_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = tmp_path / "absolute.db"
    monkeypatch.chdir(tmp_path)
    for url in (f"sqlite:///{absolute}", "sqlite:///data/relative.db"):
        await (await open_store(url)).close()
    assert absolute.exists()
    assert (tmp_path / "data" / "relative.db").exists()


# One process


async def test_second_process_is_refused_with_the_id_of_the_first(store: Store, path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OPEN_IN_ANOTHER_PROCESS,
        f"sqlite:///{path}",
        stdout=subprocess.PIPE,
    )
    said = (await process.communicate())[0].decode()
    assert f"process {os.getpid()}." in said
    assert "postgresql://" in said
    assert "running server" in said


async def test_other_name_of_the_file_is_refused_too(store: Store, path: Path) -> None:
    link = path.parent.parent / "link"
    link.symlink_to(path.parent)
    with pytest.raises(StoreInUse):
        await open_store(f"sqlite:///{link}/{path.name}")


async def test_closed_store_can_be_opened_again(store: Store, path: Path) -> None:
    await store.close()
    await (await open_store(f"sqlite:///{path}")).close()


async def test_failed_opening_leaves_no_lock(path: Path) -> None:
    write_garbage(path)
    with pytest.raises(StoreUnavailable):
        await open_store(f"sqlite:///{path}")
    os.unlink(path)
    await (await open_store(f"sqlite:///{path}")).close()


# Privacy


async def test_only_the_owner_can_read_the_files(store: Store, path: Path) -> None:
    await store.enroll("ada", [template("one")])
    assert mode_of(path.parent) == 0o700
    modes = {file.name: mode_of(file) for file in path.parent.iterdir()}
    names = (
        "likeness.db",
        "likeness.db-wal",
        "likeness.db-shm",
        "likeness.db.lock",
        "likeness.db.room",
    )
    assert modes == dict.fromkeys(names, 0o600)


async def test_file_that_others_could_read_is_made_private(path: Path) -> None:
    await (await open_store(f"sqlite:///{path}")).close()
    os.chmod(path, 0o644)
    await (await open_store(f"sqlite:///{path}")).close()
    assert mode_of(path) == 0o600


async def test_deleted_vectors_are_in_no_file_when_the_deletion_answers(
    store: Store, path: Path
) -> None:
    images = [f"i{i}" for i in range(120)]
    for at in range(0, 120, 6):
        new = [template(i, i, vector=vector_of(i, 128)) for i in images[at : at + 6]]
        await store.enroll(f"s{at % 4}", new)
    assert all(is_in(image, files_of(path)) for image in images)
    await store.delete_template("s0", "i0")
    assert not is_in("i0", files_of(path))
    await store.delete_subject("s0")
    raw = files_of(path)
    gone = [image for at, image in enumerate(images) if (at - at % 6) % 4 == 0]
    assert len(gone) == 60
    assert not any(is_in(image, raw) for image in gone)
    assert all(is_in(image, raw) for image in set(images) - set(gone))


async def test_deleted_vectors_of_a_renamed_subject_are_in_no_file(
    store: Store, path: Path
) -> None:
    images = [f"i{i}" for i in range(60)]
    for at, image in enumerate(images):
        new = template(image, vector=vector_of(image, 128), photo=vector_of(image, 128).tobytes())
        await store.enroll(f"s{at % 3}", [new])
    # Growing rows do not fit in their old place.
    await store.rename_subject("s0", "a" * 200)
    await store.rename_subject("a" * 200, "b")
    await store.delete_subject("b")
    raw = files_of(path)
    assert [image for image in images if is_in(image, raw)] == [
        image for at, image in enumerate(images) if at % 3
    ]


async def test_erased_renamed_and_replaced_values_are_in_no_file_after_the_answer(
    store: Store, path: Path
) -> None:
    """Delete from so many rows that SQLite splits and joins pages, and leaves copies of rows."""
    draw = random.Random(1)
    names = [f"name {draw.getrandbits(60):015x}" for _ in range(800)]

    async def enrol(name: str, plate: str) -> None:
        await store.enroll(name, [template(name, vector=vector_of(name, 128))], {"plate": plate})

    await asyncio.gather(*(enrol(name, f"plate of {name[:5:-1]}") for name in names))
    deleted, renamed, replaced = names[:200], names[200:250], names[250:300]
    for at in range(0, 200, 20):
        await asyncio.gather(*map(store.delete_subject, deleted[at : at + 20]))
    await asyncio.gather(*(store.rename_subject(name, name[:5:-1]) for name in renamed))
    await asyncio.gather(*(enrol(name, "none") for name in replaced))
    raw = files_of(path)
    held = {found.decode() for found in re.findall(rb"name [0-9a-f]{15}", raw)}
    plates = {found.decode() for found in re.findall(rb"plate of ([0-9a-f]{14})", raw)}
    assert held == set(names) - {*deleted, *renamed}
    assert plates == {name[:5:-1] for name in names if name not in {*deleted, *replaced}}
    assert not any(is_in(name, raw) for name in deleted[::9])
    assert all(is_in(name, raw) for name in renamed[::9])
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_remains_in_a_file_that_was_not_closed_in_order_are_erased_at_start(
    path: Path,
) -> None:
    for _ in range(2):
        store = await open_store(f"sqlite:///{path}")
        await store.enroll("ada", [template("one")])
        await store.close()
        assert REMAINS not in files_of(path)
        leave_remains(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_full_disk_refuses_to_enrol_and_still_erases(tmp_path: Path) -> None:
    path = tmp_path / "disk" / "likeness.db"
    path.parent.mkdir()
    with small_disk(path.parent, "4m"):
        store = await open_store(f"sqlite:///{path}")
        with pytest.raises(StoreUnavailable, match="full"):
            await enrol_forever(store)
        fill(path.parent / "something else")
        await store.close()
        fill(path.parent / "something more")
        store = await open_store(f"sqlite:///{path}")
        page = await store.subjects(None, 50)
        for item in page.items:
            await store.delete_subject(item.subject)
        raw = files_of(path)
        assert [item.subject for item in page.items if item.subject.encode() in raw] == []
        await store.close()


async def test_deletion_that_cannot_clean_the_log_says_so(path: Path) -> None:
    engine = SqliteEngine(str(path), Vault(), busy_timeout_s=0.01)
    store = await SqlStore.open(engine, Clock())
    await store.enroll("ada", [template("one")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM templates").fetchall()
        with pytest.raises(StoreUnavailable, match="will not be found"):
            await store.delete_subject("ada")
        assert await names_found(store, "one") == []
    await store.close()


async def test_expired_keys_are_erased_when_the_store_is_opened(path: Path) -> None:
    clock = Clock()
    store = await open_store(f"sqlite:///{path}", clock)
    await store.enroll("ada", [template("one")], None, Idempotency("k", "d"))
    await store.close()
    clock.now += timedelta(days=1)
    await (await open_store(f"sqlite:///{path}", clock)).close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM idempotency").fetchall() == [(0,)]


async def test_keys_that_were_lost_are_not_taken_for_erasure(path: Path) -> None:
    url = f"sqlite:///{path}"
    store = await open_store(url, vault=Vault([MASTER]))
    await store.enroll("ada", [template("one")])
    await store.close()
    run(url, "DELETE FROM data_keys")
    with pytest.raises(StoreUnavailable, match="1 subjects without their keys"):
        await open_store(url, vault=Vault([MASTER]))
    assert run(url, "SELECT subject FROM subjects") == [("ada",)]


@pytest.mark.parametrize("name", ["a\0b", "a%00b", "100%", "%25", "\0"])
async def test_name_with_any_character_is_erased_with_its_collection_alone(
    path: Path, name: str
) -> None:
    store = await open_store(f"sqlite:///{path}")
    await store.create_collection("visitors")
    await store.enroll("a", [template("kept")])
    await store.enroll(name, [template("one")], collection="visitors")
    assert [each.subject for each in await store.templates_of_each([name, "a"])] == sorted(
        [name, "a"]
    )
    gone = await store.delete_collection("visitors")
    assert (gone.subjects, gone.templates) == (1, 1)
    page = await store.subjects(None, 9)
    assert [each.subject for each in page.items] == ["a"]
    await store.close()
