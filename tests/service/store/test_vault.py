"""A master key encrypts subjects' keys, and these encrypt values; wrong keys decrypt nothing."""

import pytest

from service.errors import InvalidSettings, StoreDamaged, StoreUnavailable
from service.store.vault import AesGcmCipher, Vault, WrappedKey, master_id
from tests.contracts.store.samples import MASTER, OTHER_MASTER


def test_sealed_value_is_opened_by_its_key_alone() -> None:
    sealed = AesGcmCipher(MASTER).seal(b"value", "photo")
    assert AesGcmCipher(MASTER).open(sealed, "photo") == b"value"
    with pytest.raises(StoreDamaged, match="cannot be decrypted"):
        AesGcmCipher(OTHER_MASTER).open(sealed, "photo")


def test_value_does_not_pass_for_another() -> None:
    sealed = AesGcmCipher(MASTER).seal(b"value", "photo")
    with pytest.raises(StoreDamaged):
        AesGcmCipher(MASTER).open(sealed, "metadata")


@pytest.mark.parametrize("at", [0, 4, 20, -1])
def test_one_changed_bit_is_noticed(at: int) -> None:
    sealed = bytearray(AesGcmCipher(MASTER).seal(b"value", "photo"))
    sealed[at] ^= 1
    with pytest.raises(StoreDamaged):
        AesGcmCipher(MASTER).open(bytes(sealed), "photo")


@pytest.mark.parametrize("sealed", [b"", b"LKv1", b"LKv1" + bytes(8), b'{"clear": 1}'])
def test_unencrypted_value_is_not_decrypted(sealed: bytes) -> None:
    with pytest.raises(StoreDamaged):
        AesGcmCipher(MASTER).open(sealed, "photo")


def test_same_value_is_sealed_differently_each_time() -> None:
    assert AesGcmCipher(MASTER).seal(b"value", "photo") != AesGcmCipher(MASTER).seal(
        b"value", "photo"
    )


def test_sealing_keeps_float32_numbers_in_step() -> None:
    assert len(AesGcmCipher(MASTER).seal(bytes(512), "vector")) == 512 + 32


def test_wrapped_key_works_under_every_master_key_of_the_vault() -> None:
    wrapped, sealer = Vault([MASTER]).new_key()
    sealed = sealer.seal(b"value", "photo")
    both = Vault([OTHER_MASTER, MASTER])
    moved = both.rewrap(wrapped)
    assert (wrapped.master, moved.master) == (master_id(MASTER), master_id(OTHER_MASTER))
    for vault, key in ((both, wrapped), (both, moved), (Vault([OTHER_MASTER]), moved)):
        assert vault.cipher(key).open(sealed, "photo") == b"value"


def test_wrapped_key_does_not_pass_for_that_of_another_subject() -> None:
    vault = Vault([MASTER])
    one, other = vault.new_key()[0], vault.new_key()[0]
    with pytest.raises(StoreDamaged):
        vault.unwrap(WrappedKey(one.key_id, one.master, other.blob))


def test_key_of_an_unknown_master_key_names_it() -> None:
    wrapped, _ = Vault([MASTER]).new_key()
    with pytest.raises(StoreUnavailable, match=master_id(MASTER)):
        Vault([OTHER_MASTER]).cipher(wrapped)


def test_destroyed_key_opens_nothing() -> None:
    with pytest.raises(StoreDamaged, match="destroyed"):
        WrappedKey.from_row("id", None, None)


def test_vault_without_a_key_in_use_names_the_keys_it_has() -> None:
    Vault([MASTER, OTHER_MASTER]).check([master_id(MASTER)])
    with pytest.raises(InvalidSettings, match="settings give none"):
        Vault().check([master_id(MASTER)])
    with pytest.raises(InvalidSettings, match=f"settings give {master_id(OTHER_MASTER)}"):
        Vault([OTHER_MASTER]).check([master_id(MASTER)])


def test_no_representation_shows_a_key() -> None:
    wrapped, _ = Vault([MASTER]).new_key()
    assert str(wrapped.blob) not in repr(wrapped)
