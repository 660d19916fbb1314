"""A subject's row: its metadata and terms, and the cipher of all its values."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.errors import StoreDamaged
from service.store.damage import SubjectReader, metadata_of, terms_of
from service.store.records import Damage, NewTemplate, StoredTemplate, Terms
from service.store.vault import Cipher, Owner, Vault

# Decrypts a stored vector, checks its `about` and its dimension, if known. Raises StoreDamaged.
ReadVector = Callable[[Cipher, bytes, str, int | None], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """Hold the decrypted row of a subject, and the cipher of its templates and photos.

    Damaged values are empty and listed in `damaged`.
    """

    owner: Owner
    metadata: dict[str, str]
    terms: Terms
    cipher: Cipher
    damaged: tuple[Damage, ...] = ()

    @classmethod
    def open(
        cls,
        vault: Vault,
        owner: Owner,
        metadata: bytes,
        terms: bytes | None,
        key_id: str | None,
        master: str | None,
        wrapped: bytes | None,
    ) -> "SubjectRow":
        """Decrypt the columns of a subject and of its key. Raises StoreUnavailable."""
        reader = SubjectReader(owner.subject)
        cipher = reader.cipher(vault, key_id, master, wrapped)
        none: dict[str, str] = {}
        decrypted_metadata = reader.read(
            "metadata", lambda: metadata_of(cipher.open(metadata, owner.metadata)), none
        )
        decrypted_terms = Terms()
        if terms is not None:
            decrypted_terms = reader.read(
                "terms", lambda: terms_of(cipher.open(terms, owner.terms)), decrypted_terms
            )
        return cls(owner, decrypted_metadata, decrypted_terms, cipher, tuple(reader.damaged))

    def vector(
        self,
        read: ReadVector,
        blob: bytes,
        template: StoredTemplate,
        reader: SubjectReader,
        dimensions: Mapping[str, int],
    ) -> NDArray[np.float32] | None:
        """Return the vector `(d,)` of a template, by the engine's `read`; None if damaged."""
        name, made_by = template.template_id, template.fingerprint
        about = self.owner.vector(name, template.image_sha256, made_by)
        read_vector = partial(read, self.cipher, blob, about, dimensions.get(made_by))
        return reader.read("vector", read_vector, None, name, made_by)

    def holds(
        self,
        read: ReadVector,
        blob: bytes,
        template_id: str,
        fingerprint: str,
        template: NewTemplate,
    ) -> bool:
        """Tell whether a stored vector of the same photo as a new template is good.

        A vector of the new template's bundle must have its dimension too.
        """
        about = self.owner.vector(template_id, template.image_sha256, fingerprint)
        try:
            vector = read(self.cipher, blob, about, None)
        except StoreDamaged:
            return False
        return fingerprint != template.fingerprint or len(vector) == len(template.vector)

    def check_whole(self) -> None:
        """Raise StoreDamaged if a value is damaged: to write the row again would lose it."""
        if self.damaged:
            raise StoreDamaged(
                f"The {self.damaged[0].part} of this subject cannot be read. Enrol the subject "
                "again with new metadata and terms, delete it, or restore a backup."
            )


def seal_metadata(cipher: Cipher, owner: Owner, metadata: Mapping[str, str]) -> bytes:
    return cipher.seal(json.dumps(dict(metadata)).encode(), owner.metadata)


def seal_terms(cipher: Cipher, owner: Owner, terms: Terms) -> bytes:
    return cipher.seal(json.dumps(asdict(terms)).encode(), owner.terms)
