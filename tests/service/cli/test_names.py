"""`likeness names` lists invalid names of an earlier release and renames the subjects."""

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
    """Return a database, set for the commands, in which two subjects have the same name."""
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


def test_a_subject_with_the_name_of_another_is_listed_and_renamed(store: Path) -> None:
    listed = likeness("names", "list")
    assert "Jose%CC%81  Jos\u00e9  Another subject has this name" in listed.stdout
    renamed = likeness("names", "rename", "Jose%CC%81", "Jose\u0301 of Lima")
    assert renamed.stdout == "renamed  Jos\u00e9 of Lima\n"
    assert likeness("names", "list").stdout == "0 to rename\n"
