"""Bind what earlier releases sealed to the subject it belongs to.

They sealed a value as what it is alone, so that two subjects could change places. A database of
theirs lists its keys in the table `unbound`. Before a service uses it, it seals what they sealed
anew and takes them off the list; nothing but that reads the old form.
"""

from typing import Final

from service.errors import StoreDamaged, StoreUnavailable
from service.store.vault import Cipher, Owner, Vault, WrappedKey

# Keys bound in one transaction.
AT_ONCE: Final = 500

METADATA: Final = "metadata"
TERMS: Final = "terms"


def of_vector(image_sha256: str, fingerprint: str) -> str:
    """Return what a vector was sealed as."""
    return f"vector\0{image_sha256}\0{fingerprint}"


def bind_row(
    cipher: Cipher, owner: Owner, metadata: bytes, terms: bytes | None
) -> tuple[bytes, bytes | None]:
    """Seal the metadata and terms of a subject anew."""
    return (
        reseal_value(cipher, metadata, METADATA, owner.metadata),
        None if terms is None else reseal_value(cipher, terms, TERMS, owner.terms),
    )


def bind_vector(
    cipher: Cipher,
    owner: Owner,
    vector: bytes,
    template_id: str,
    image_sha256: str,
    fingerprint: str,
) -> bytes:
    """Seal a vector anew."""
    before = of_vector(image_sha256, fingerprint)
    return reseal_value(
        cipher, vector, before, owner.vector(template_id, image_sha256, fingerprint)
    )


def bind_key(vault: Vault, wrapped: WrappedKey, use: str) -> WrappedKey:
    """Wrap a key for its use; one that cannot be opened stays as it is."""
    try:
        return vault.bind(wrapped, use)
    except (StoreDamaged, StoreUnavailable):
        return wrapped


def reseal_value(cipher: Cipher, sealed: bytes, before: str, after: str) -> bytes:
    """Seal a value as something else; one that cannot be opened stays so, as it is."""
    try:
        value = cipher.open(sealed, before)
    except StoreDamaged:
        return sealed
    return cipher.seal(value, after)
