"""If pages of a SQLite file are damaged, the other pages are served."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import StoreDamaged, StoreUnavailable
from service.store import Store, open_store
from tests.contracts.store.samples import FINGERPRINT, template, vector_of

_PEOPLE = 60


async def store_with_damaged_page(path: Path, name: str, kind: str) -> Store:
    """Enrol some subjects, overwrite a page, and open the store again."""
    url = f"sqlite:///{path}"
    store = await open_store(url)
    for at in range(_PEOPLE):
        new = template(f"i{at}", f"t{at}", vector=vector_of(f"i{at}", 128))
        await store.enroll(f"s{at}", [new], {"of": "somebody" * 100})
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno",
            (name, kind),
        ).fetchall()
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2][0] - 1) * size)
        file.write(b"\xa5" * size)
    return await open_store(url)


async def found(store: Store, at: int) -> bool:
    candidates = await store.search(vector_of(f"i{at}", 128), FINGERPRINT, 1)
    return bool(candidates) and candidates[0].subject == f"s{at}"


@pytest.mark.parametrize(
    ("name", "kind"), [("templates", "leaf"), ("templates", "internal"), ("subjects", "leaf")]
)
async def test_damaged_page_affects_only_its_own_values(
    tmp_path: Path, name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await store_with_damaged_page(tmp_path / "likeness.db", name, kind)
    verified = refused = 0
    for at in range(_PEOPLE):
        try:
            held = await store.templates_of(f"s{at}")
        except StoreDamaged as error:
            refused += ".recover" in error.sentence
        else:
            verified += bool(held.templates)
            assert await found(store, at) is bool(held.templates)
    assert verified + refused == _PEOPLE
    assert refused
    assert kind == "internal" or verified > _PEOPLE / 2
    assert ".recover" in caplog.text or "damaged value in the store" in caplog.text
    await store.close()


async def test_file_with_a_damaged_first_page_is_refused_with_advice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "likeness.db"
    await (await open_store(f"sqlite:///{path}")).close()
    with path.open("r+b") as file:
        file.write(b"\xa5" * 4096)
    with pytest.raises(StoreUnavailable, match=r"sqlite3 likeness\.db \.recover"):
        await open_store(f"sqlite:///{path}")
