"""`likeness keys` prints signing keys in the form that AWS clients read."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app as commands
from service.schemas.admin import NewKeyAnswer
from service.store.master_keys import new_master_key
from tests.checkpoints import write_bundle


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDLE", str(write_bundle(tmp_path / "tiny")))
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path}/likeness.db")
    monkeypatch.setenv("LIKENESS_MASTER_KEYS", new_master_key())
    monkeypatch.setenv("COLUMNS", "200")


def likeness(*words: str) -> Result:
    return CliRunner().invoke(commands, [*words])


def test_a_signing_key_is_printed_as_environment_variables_too() -> None:
    made = likeness("keys", "create", "door", "--scope", "verify", "--signing")
    key, *pair = made.stdout.splitlines()
    _, key_id, secret = key.split("_", 2)
    assert pair == [f"AWS_ACCESS_KEY_ID=lk_{key_id}", f"AWS_SECRET_ACCESS_KEY={secret}"]
    assert secret not in likeness("keys", "list").output


def test_a_signing_key_as_json_has_both_parts() -> None:
    made = likeness("keys", "create", "door", "--scope", "verify", "--signing", "--json")
    answer = NewKeyAnswer.model_validate_json(made.stdout)
    assert answer.key == f"{answer.access_key_id}_{answer.secret_access_key}"
    assert str(answer.secret_access_key) not in repr(answer)


def test_without_a_master_key_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LIKENESS_MASTER_KEYS")
    refused = likeness("keys", "create", "door", "--scope", "verify", "--signing")
    assert (refused.exit_code, "LIKENESS_MASTER_KEYS_FILE" in refused.stderr) == (2, True)


def test_the_first_and_the_last_key_print_a_note() -> None:
    first = likeness("keys", "create", "shop", "--scope", "verify")
    second = likeness("keys", "create", "ops", "--scope", "admin")
    said = [
        likeness("keys", "revoke", made.stdout.split("_")[1]).stderr for made in (first, second)
    ]
    assert "first key" in first.stderr
    assert "--scope admin" in first.stderr
    assert ["key:" in each for each in (second.stderr, *said)] == [False, False, True]
