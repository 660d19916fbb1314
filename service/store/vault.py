"""Encryption at rest: every subject has its own key, and a master key encrypts these keys.

All encryption is AES-256-GCM (NIST SP 800-38D) with a new nonce each time. The associated data
names the value and its subject, so that no value can stand for another value or for that of
another subject. To destroy a subject's key erases all its values, even in copies of the database.
The secrets of API keys that sign are encrypted in the same way.

To `seal` a value is to encrypt it, to `open` it is to decrypt it; to `wrap` a key is to encrypt it
by a master key.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.errors import InvalidSettings, StoreDamaged, StoreUnavailable

KEY_BYTES: Final = 32
# Version, nonce and tag make 32 bytes, so that float32 numbers stay aligned.
_VERSION: Final = b"LKv1"
_NONCE_BYTES: Final = 12


class Cipher(Protocol):
    """Encrypt and decrypt the values of one subject; `about` is the associated data of a value."""

    def seal(self, value: bytes, about: str) -> bytes: ...

    def open(self, sealed: bytes, about: str) -> bytes:
        """Decrypt a value. Raises StoreDamaged if it was changed, or is another value."""
        ...


class ClearCipher:
    """Leave values as they are, for a store without a master key."""

    def seal(self, value: bytes, about: str) -> bytes:
        return value

    def open(self, sealed: bytes, about: str) -> bytes:
        return sealed


class LostKeyCipher:
    """Raise StoreDamaged for every value, as the subject's key is damaged."""

    def seal(self, value: bytes, about: str) -> bytes:
        raise StoreDamaged(
            "The key of this subject is damaged, so nothing can be stored. Delete the subject and "
            "enrol it again, or restore a backup."
        )

    def open(self, sealed: bytes, about: str) -> bytes:
        raise StoreDamaged("Its key is damaged.")


class AesGcmCipher:
    """Encrypt and decrypt with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, value: bytes, about: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, value, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        nonce, rest = sealed[len(_VERSION) :][:_NONCE_BYTES], sealed[len(_VERSION) + _NONCE_BYTES :]
        try:
            if not sealed.startswith(_VERSION) or len(nonce) < _NONCE_BYTES:
                raise InvalidTag
            return self._aead.decrypt(nonce, rest, about.encode())
        except InvalidTag as exc:
            raise StoreDamaged(
                "It cannot be decrypted: it was changed, or moved from another place."
            ) from exc


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """Hold an encrypted key: its id, the id of its master key, and the encrypted bytes.

    `use` names the purpose of a key; it is empty for a subject's key, because subjects can be
    renamed. A subject's name is in the associated data of its values instead.
    """

    key_id: str
    master: str
    blob: bytes = field(repr=False)
    use: str = ""

    @classmethod
    def from_row_or_none(
        cls, key_id: str | None, master: str | None, blob: bytes | None, use: str
    ) -> "WrappedKey | None":
        """Return the key of a row, None if the row has no key or the key was destroyed."""
        if key_id is None or master is None or blob is None:
            return None
        return cls(key_id, master, blob, use)

    @classmethod
    def from_row(
        cls, key_id: str | None, master: str | None, blob: bytes | None
    ) -> "WrappedKey | None":
        """Return the key of a row, None if the row has no key.

        Raises StoreDamaged if the key was destroyed or lost.
        """
        if key_id is None:
            return None
        if master is None or blob is None:
            raise StoreDamaged("The key is missing: it was destroyed or lost.")
        return cls(key_id, master, blob)


class Vault:
    """Make, encrypt and decrypt keys, by master keys of 32 bytes.

    The first master key encrypts, all of them decrypt. Without a master key, values are stored
    unencrypted, and encrypted values cannot be read.
    """

    def __init__(self, masters: Sequence[bytes] = ()) -> None:
        self._masters = {master_id(key): AesGcmCipher(key) for key in masters}
        self.current = master_id(masters[0]) if masters else None

    @property
    def master_ids(self) -> frozenset[str]:
        """Return the ids of the master keys of this vault."""
        return frozenset(self._masters)

    def new_key(self) -> tuple[WrappedKey, AesGcmCipher]:
        """Make a key for a subject."""
        key = secrets.token_bytes(KEY_BYTES)
        return self.wrap(key), AesGcmCipher(key)

    def wrap(self, key: bytes, use: str = "") -> WrappedKey:
        """Encrypt 32 bytes by the current master key, which must exist, under a new id."""
        return self._wrap(secrets.token_hex(16), use, key)

    def cipher(self, wrapped: WrappedKey | None) -> Cipher:
        """Return the cipher of a subject with that key, or without a key."""
        return ClearCipher() if wrapped is None else AesGcmCipher(self.unwrap(wrapped))

    def rewrap(self, wrapped: WrappedKey) -> WrappedKey:
        """Encrypt a key by the current master key; the values under it do not change."""
        return self.bind(wrapped, wrapped.use)

    def bind(self, wrapped: WrappedKey, use: str) -> WrappedKey:
        """Encrypt a key by the current master key, for another use."""
        return self._wrap(wrapped.key_id, use, self.unwrap(wrapped))

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Decrypt a key, 32 bytes.

        Raises StoreUnavailable if its master key is missing, StoreDamaged if the key is damaged.
        """
        master = self._masters.get(wrapped.master)
        about = _wrapping(wrapped.key_id, wrapped.use)
        if master is not None:
            return master.open(wrapped.blob, about)
        # Perhaps the stored id of the master key is damaged.
        for each in self._masters.values():
            with suppress(StoreDamaged):
                return each.open(wrapped.blob, about)
        raise StoreUnavailable(
            f"A key in the database is encrypted by the master key {wrapped.master}, which this "
            "process does not have. Start all processes with the same LIKENESS_MASTER_KEYS."
        )

    def opens(self, wrapped: WrappedKey) -> bool:
        """Tell whether a key can be decrypted."""
        try:
            self.unwrap(wrapped)
        except (StoreDamaged, StoreUnavailable):
            return False
        return True

    def rewrap_some(self, keys: Iterable[WrappedKey], limit: int) -> tuple[list[WrappedKey], int]:
        """Rewrap at most `limit` keys; return them, and the number of damaged keys that were met.

        Damaged keys stay as they are; the caller subtracts them from the work that is left.
        """
        rewrapped: list[WrappedKey] = []
        damaged = 0
        for each in keys:
            try:
                rewrapped.append(self.rewrap(each))
            except (StoreDamaged, StoreUnavailable):
                damaged += 1
            if len(rewrapped) >= limit:
                break
        return rewrapped, damaged

    def _wrap(self, key_id: str, use: str, key: bytes) -> WrappedKey:
        assert self.current is not None
        blob = self._masters[self.current].seal(key, _wrapping(key_id, use))
        return WrappedKey(key_id, self.current, blob, use)

    def check(self, in_use: Sequence[str]) -> None:
        """Raise InvalidSettings if the vault lacks a master key that the database uses."""
        missing = sorted(set(in_use) - self.master_ids)
        if not missing:
            return
        given = (
            f"the settings give {', '.join(sorted(self.master_ids))}"
            if self.master_ids
            else "the settings give none"
        )
        raise InvalidSettings(
            f"The database is encrypted by the master key {', '.join(missing)}; {given}. Set "
            "LIKENESS_MASTER_KEYS, LIKENESS_MASTER_KEYS_FILE or LIKENESS_MASTER_KEYS_COMMAND."
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """Name a subject and its collection, and make the associated data of its values."""

    subject: str
    collection: str

    @property
    def metadata(self) -> str:
        return self._about("metadata")

    @property
    def terms(self) -> str:
        return self._about("terms")

    def vector(self, template_id: str, image_sha256: str, fingerprint: str) -> str:
        return self._about("vector", template_id, image_sha256, fingerprint)

    def _about(self, *what: str) -> str:
        return json.dumps([*what, self.collection, self.subject])


def of_photo(image_sha256: str) -> str:
    """Return the associated data of a photo.

    It does not name the subject, so that a rename need not encrypt photos again: the key of a
    photo is the key of the subject's metadata, which do name the subject.
    """
    return f"photo\0{image_sha256}"


def signing_use(api_key: str) -> str:
    """Return the use of the key that holds the signing secret of an API key."""
    return f"signs\0{api_key}"


def rotation_use(space: int) -> str:
    """Return the use of the key that holds the seed of a search table's rotation."""
    return f"turns\0{space}"


def master_id(key: bytes) -> str:
    """Return the id of a master key: 16 hex digits that reveal nothing about it."""
    return hashlib.sha256(b"likeness master key\0" + key).hexdigest()[:16]


def _wrapping(key_id: str, use: str) -> str:
    return f"key\0{key_id}\0{use}" if use else f"key\0{key_id}"
