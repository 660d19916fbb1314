"""Templates sealed at rest: every subject has a key of its own, wrapped by a master key.

AES-256-GCM (NIST SP 800-38D) throughout, a fresh nonce each time. What a value is and whose it
is, is sealed in with it, so that no value passes for another, nor for another subject's.
Destroying a subject's key erases what it sealed, also where a copy of that was kept. Secrets of
API keys that sign are wrapped alike.
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
# A version, the nonce and the tag: 32 bytes, so that float32 numbers stay in step.
_VERSION: Final = b"LKv1"
_NONCE_BYTES: Final = 12


class Cipher(Protocol):
    """Seal and open what is stored of one subject; `about` says what the value is."""

    def seal(self, value: bytes, about: str) -> bytes: ...

    def open(self, sealed: bytes, about: str) -> bytes:
        """Raises StoreDamaged if it was changed, or is something else."""
        ...


class ClearCipher:
    """Leave values as they are: no master key is given."""

    def seal(self, value: bytes, about: str) -> bytes:
        return value

    def open(self, sealed: bytes, about: str) -> bytes:
        return sealed


class LostKeyCipher:
    """Open nothing: the key cannot be read."""

    def seal(self, value: bytes, about: str) -> bytes:
        raise StoreDamaged(
            "The key of this subject is damaged, and nothing can be stored under it: delete the "
            "subject and enrol it again, or restore a backup."
        )

    def open(self, sealed: bytes, about: str) -> bytes:
        raise StoreDamaged("The key that opens it is damaged.")


class AesGcmCipher:
    """Seal and open with one key of 32 bytes."""

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
                "Its seal cannot be opened: it was changed, or put in the place of another."
            ) from exc


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """Hold a key as it is stored: its id, the id of the master key, and what that sealed.

    `use` is what it is for if not for a subject: the names of subjects change, and so are
    sealed in with what their keys seal.
    """

    key_id: str
    master: str
    blob: bytes = field(repr=False)
    use: str = ""

    @classmethod
    def held(
        cls, key_id: str | None, master: str | None, blob: bytes | None, use: str
    ) -> "WrappedKey | None":
        """Return the key of a row, None if it has none or it was destroyed."""
        if key_id is None or master is None or blob is None:
            return None
        return cls(key_id, master, blob, use)

    @classmethod
    def read(
        cls, key_id: str | None, master: str | None, blob: bytes | None
    ) -> "WrappedKey | None":
        """Return the key of a row, None if it has none. Raises StoreDamaged if it is gone."""
        if key_id is None:
            return None
        if master is None or blob is None:
            raise StoreDamaged("The key is not there: it was destroyed, or lost.")
        return cls(key_id, master, blob)


class Vault:
    """Make, wrap and unwrap keys of subjects, and secrets; the first master key wraps, all unwrap.

    Without a master key nothing is sealed, and what is sealed cannot be opened.
    """

    def __init__(self, masters: Sequence[bytes] = ()) -> None:
        self._masters = {master_id(key): AesGcmCipher(key) for key in masters}
        self.current = master_id(masters[0]) if masters else None

    @property
    def knows(self) -> frozenset[str]:
        """Return the ids of the master keys that are given."""
        return frozenset(self._masters)

    def new_key(self) -> tuple[WrappedKey, AesGcmCipher]:
        """Make a key for a subject."""
        key = secrets.token_bytes(KEY_BYTES)
        return self.wrap(key), AesGcmCipher(key)

    def wrap(self, key: bytes, use: str = "") -> WrappedKey:
        """Wrap 32 bytes by the current master key, under a new id; there has to be one."""
        return self._wrap(secrets.token_hex(16), use, key)

    def cipher(self, wrapped: WrappedKey | None) -> Cipher:
        """Return what opens the values of a subject with that key, or without one."""
        return ClearCipher() if wrapped is None else AesGcmCipher(self.unwrap(wrapped))

    def rewrap(self, wrapped: WrappedKey) -> WrappedKey:
        """Wrap a key by the current master key instead; what it sealed stays as it is."""
        return self.bind(wrapped, wrapped.use)

    def bind(self, wrapped: WrappedKey, use: str) -> WrappedKey:
        """Do so, and let the key be for that use alone."""
        return self._wrap(wrapped.key_id, use, self.unwrap(wrapped))

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return a key, 32 bytes.

        Raises StoreUnavailable without its master key, StoreDamaged if that does not open it.
        """
        master = self._masters.get(wrapped.master)
        about = _wrapping(wrapped.key_id, wrapped.use)
        if master is not None:
            return master.open(wrapped.blob, about)
        # Perhaps it is the name of the master key that is damaged.
        for each in self._masters.values():
            with suppress(StoreDamaged):
                return each.open(wrapped.blob, about)
        raise StoreUnavailable(
            f"A key in the database is sealed by the master key {wrapped.master}, which this "
            "process was not given; start it with the same LIKENESS_MASTER_KEYS as the others."
        )

    def opens(self, wrapped: WrappedKey) -> bool:
        """Tell whether a key can be unwrapped."""
        try:
            self.unwrap(wrapped)
        except (StoreDamaged, StoreUnavailable):
            return False
        return True

    def rewrap_some(self, keys: Iterable[WrappedKey], limit: int) -> tuple[list[WrappedKey], int]:
        """Rewrap the first `limit` keys that can be; return these, and how many before cannot.

        One that is damaged stays as it is, and must not be for ever what is left to do.
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
        """Raise InvalidSettings if a master key that the database needs is not given."""
        missing = sorted(set(in_use) - self.knows)
        if not missing:
            return
        given = (
            f"the master keys given are {', '.join(sorted(self.knows))}"
            if self.knows
            else "none is given"
        )
        raise InvalidSettings(
            f"What the database holds is sealed by the master key {', '.join(missing)}; {given}. "
            "Set LIKENESS_MASTER_KEYS, LIKENESS_MASTER_KEYS_FILE or LIKENESS_MASTER_KEYS_COMMAND."
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """Name a subject and its collection, and say what each of its values is sealed as."""

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
    """Return what a photo is sealed as; whose it is, says the metadata under the same key."""
    return f"photo\0{image_sha256}"


def to_sign(api_key: str) -> str:
    """Return what the secret of an API key is wrapped for."""
    return f"signs\0{api_key}"


def to_turn(space: int) -> str:
    """Return what the seed is wrapped for that turns a table to search."""
    return f"turns\0{space}"


def master_id(key: bytes) -> str:
    """Return what a master key is known by: 16 hex digits that tell nothing of it."""
    return hashlib.sha256(b"likeness master key\0" + key).hexdigest()[:16]


def _wrapping(key_id: str, use: str) -> str:
    return f"key\0{key_id}\0{use}" if use else f"key\0{key_id}"
