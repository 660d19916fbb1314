"""`likeness names` lists what an earlier release left, and gives it another name."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app
from service.store import open_store
from tests.checkpoints import write_bundle
from tests.contracts.store.samples import template

JOSE, JOSE_TOO = "Jos\u00e9", "Jose\u0301"


async def enroll(url: str, *names: str) -> None:
    store = await open_store(url)
    for name in names:
        await store.enroll(name, [template(name)])
    await store.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file in which two subjects have one name, which the commands use too."""
    file = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{file}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(write_bundle(tmp_path / "tiny")))
    asyncio.run(enroll(f"sqlite:///{file}", JOSE, JOSE_TOO))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE subjects SET odd_name = 1 WHERE subject = ?", (JOSE_TOO,))
        connection.commit()
    return file


def likeness(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_subject_of_a_name_that_is_anothers_is_listed_and_renamed(store: Path) -> None:
    listed = likeness("names", "list")
    assert "Jose%CC%81  Jos\u00e9  Another subject has this name" in listed.stdout
    renamed = likeness("names", "rename", "Jose%CC%81", "Jose\u0301 of Lima")
    assert renamed.stdout == "renamed  Jos\u00e9 of Lima\n"
    assert likeness("names", "list").stdout == "0 to rename\n"
