"""Master keys come from one of three settings; otherwise the start fails with a reason."""

import base64
import shlex
import sys
from pathlib import Path

import pytest

from service.errors import InvalidSettings
from service.settings import Settings, load_settings
from service.store.master_keys import new_master_key, open_vault, read_keys
from service.store.vault import master_id
from tests.contracts.store.samples import MASTER, OTHER_MASTER

TEXT, OTHER_TEXT = (base64.b64encode(key).decode() for key in (MASTER, OTHER_MASTER))


def test_without_master_keys_values_are_not_encrypted() -> None:
    assert open_vault(Settings()).current is None


def test_first_key_seals_and_all_open(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since May\n{TEXT}\n\n# until then\n{OTHER_TEXT}\n")
    command = shlex.join([sys.executable, "-c", f"print('{TEXT}', '{OTHER_TEXT}')"])
    for given in (
        {"master_keys": f"{TEXT} {OTHER_TEXT}"},
        {"master_keys_file": file},
        {"master_keys_command": command},
    ):
        vault = open_vault(load_settings(**given))
        assert vault.current == master_id(MASTER)
        assert vault.master_ids == {master_id(MASTER), master_id(OTHER_MASTER)}


def test_new_key_is_one_that_is_read() -> None:
    (key,) = read_keys(new_master_key(), "it")
    assert len(key) == 32


@pytest.mark.parametrize("text", ["", "# none\n", "c2hvcnQ=", "not base64", f"{TEXT} short"])
def test_invalid_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidSettings, match="LIKENESS_MASTER_KEYS") as refused:
        read_keys(text, "LIKENESS_MASTER_KEYS")
    assert not text or text not in refused.value.sentence


def test_two_places_are_one_too_many(tmp_path: Path) -> None:
    settings = load_settings(master_keys=TEXT, master_keys_file=tmp_path / "keys")
    with pytest.raises(InvalidSettings, match=r"_KEYS and LIKENESS_MASTER_KEYS_FILE"):
        open_vault(settings)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"master_keys_file": "/nowhere/keys"}, "No such file"),
        ({"master_keys_command": "exit 3"}, "status 3"),
        ({"master_keys_command": "true"}, "holds no master key"),
    ],
)
def test_place_that_gives_no_key_is_named(given: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"LIKENESS_MASTER_KEYS_\w+.*{reason}"):
        open_vault(load_settings(**given))


def test_settings_do_not_show_keys() -> None:
    assert TEXT not in repr(load_settings(master_keys=TEXT))
