"""Bind encrypted values of earlier releases to their subjects.

Earlier releases did not include the subject in the encryption, so that the values of two subjects
could be swapped. The table `unbound` lists the keys of such values. When the service opens a
database, it encrypts these values again in the current form and empties the list. Only this
module reads the old form.
"""

from typing import Final

from service.errors import StoreDamaged, StoreUnavailable
from service.store.vault import Cipher, Owner, Vault, WrappedKey

# Keys that one transaction handles.
AT_ONCE: Final = 500

METADATA: Final = "metadata"
TERMS: Final = "terms"


def of_vector(image_sha256: str, fingerprint: str) -> str:
    """Return the old associated data of a vector."""
    return f"vector\0{image_sha256}\0{fingerprint}"


def bind_row(
    cipher: Cipher, owner: Owner, metadata: bytes, terms: bytes | None
) -> tuple[bytes, bytes | None]:
    """Bind the metadata and terms of a subject to it."""
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
    """Bind a vector to its subject."""
    before = of_vector(image_sha256, fingerprint)
    return reseal_value(
        cipher, vector, before, owner.vector(template_id, image_sha256, fingerprint)
    )


def bind_key(vault: Vault, wrapped: WrappedKey, use: str) -> WrappedKey:
    """Bind a key to its use; a key that cannot be decrypted stays as it is."""
    try:
        return vault.bind(wrapped, use)
    except (StoreDamaged, StoreUnavailable):
        return wrapped


def reseal_value(cipher: Cipher, sealed: bytes, before: str, after: str) -> bytes:
    """Encrypt a value with other associated data; a damaged value stays as it is."""
    try:
        value = cipher.open(sealed, before)
    except StoreDamaged:
        return sealed
    return cipher.seal(value, after)
