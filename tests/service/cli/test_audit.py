"""`likeness audit verify` checks that the log was not changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import EXIT_ERROR, app
from service.store import open_store
from service.store.audit import START
from tests.checkpoints import write_bundle
from tests.contracts.store.samples import template


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
async def path(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store in which a subject was enrolled twice and deleted."""
    path = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    store = await open_store(f"sqlite:///{path}")
    await store.enroll("ruth", [template("one")])
    await store.enroll("ruth", [template("two")])
    await store.delete_subject("ruth")
    await store.close()
    return path


def verify(*receipts: str) -> Result:
    words = [word for receipt in receipts for word in ("--receipt", receipt)]
    return CliRunner().invoke(app, ["audit", "verify", *words])


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_an_unchanged_log_and_its_receipt_verify(path: Path) -> None:
    result = verify()
    receipt = result.stdout.splitlines()[-1]
    assert (result.exit_code, receipt.startswith("3:")) == (0, True)
    assert verify(receipt).exit_code == 0


def test_a_changed_entry_is_named(path: Path) -> None:
    change(path, "UPDATE audit SET counts = '{}' WHERE number = 2")
    result = verify()
    assert (result.exit_code, "Entry 2" in result.stderr) == (EXIT_ERROR, True)


def test_a_receipt_shows_that_the_end_was_cut_off(path: Path) -> None:
    receipt = verify().stdout.splitlines()[-1]
    change(path, "DELETE FROM audit WHERE number = 3")
    assert verify().exit_code == 0
    result = verify(receipt)
    assert (result.exit_code, "ends with entry 2" in result.stderr) == (EXIT_ERROR, True)


def test_the_receipt_of_an_empty_log_verifies_later(path: Path) -> None:
    assert verify(f"0:{START}").exit_code == 0
    result = verify(f"0:{'1' * 64}")
    assert (result.exit_code, "Entry 0" in result.stderr) == (EXIT_ERROR, True)


def test_the_receipt_of_another_log_is_refused(path: Path) -> None:
    result = verify(f"2:{'0' * 64}")
    assert (result.exit_code, "not the one of the receipt" in result.stderr) == (EXIT_ERROR, True)


def test_the_log_contains_no_names(path: Path) -> None:
    listed = CliRunner().invoke(app, ["audit", "list"]).stdout
    assert (len(listed.splitlines()), "ruth" in listed) == (3, False)
