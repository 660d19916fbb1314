"""What is stored of a subject beside its templates, sealed or not."""

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

# How an engine reads what it stored of a vector: sealed as `about`, of a dimension if that is
# known. Raises StoreDamaged.
ReadVector = Callable[[Cipher, bytes, str, int | None], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """Hold them opened, and what opens and seals the subject's templates and photos.

    What cannot be read is empty, and `damaged` says so.
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
        """Open what the row of a subject and that of its key hold. Raises StoreUnavailable."""
        reading = SubjectReader(owner.subject)
        cipher = reading.cipher(vault, key_id, master, wrapped)
        none: dict[str, str] = {}
        noted = reading.read(
            "metadata", lambda: metadata_of(cipher.open(metadata, owner.metadata)), none
        )
        agreed = Terms()
        if terms is not None:
            agreed = reading.read(
                "terms", lambda: terms_of(cipher.open(terms, owner.terms)), agreed
            )
        return cls(owner, noted, agreed, cipher, tuple(reading.damaged))

    def vector(
        self,
        read: ReadVector,
        blob: bytes,
        template: StoredTemplate,
        reading: SubjectReader,
        dimensions: Mapping[str, int],
    ) -> NDArray[np.float32] | None:
        """Return the vector `(d,)` of a template by how the engine reads it; None if damaged."""
        name, made_by = template.template_id, template.fingerprint
        about = self.owner.vector(name, template.image_sha256, made_by)
        taken = partial(read, self.cipher, blob, about, dimensions.get(made_by))
        return reading.read("vector", taken, None, name, made_by)

    def holds(
        self,
        read: ReadVector,
        blob: bytes,
        template_id: str,
        fingerprint: str,
        template: NewTemplate,
    ) -> bool:
        """Tell whether what is held of a template's photo is whole, and as long as the new one.

        It may be another bundle's, by its `fingerprint`, and of any length then.
        """
        about = self.owner.vector(template_id, template.image_sha256, fingerprint)
        try:
            found = read(self.cipher, blob, about, None)
        except StoreDamaged:
            return False
        return fingerprint != template.fingerprint or len(found) == len(template.vector)

    def check_whole(self) -> None:
        """Raise StoreDamaged if anything could not be read, which writing it anew would lose."""
        if self.damaged:
            raise StoreDamaged(
                f"The {self.damaged[0].part} of this subject cannot be read: enrol it again with "
                "new metadata and terms, delete it, or restore a backup."
            )


def seal_metadata(cipher: Cipher, owner: Owner, metadata: Mapping[str, str]) -> bytes:
    return cipher.seal(json.dumps(dict(metadata)).encode(), owner.metadata)


def seal_terms(cipher: Cipher, owner: Owner, terms: Terms) -> bytes:
    return cipher.seal(json.dumps(asdict(terms)).encode(), owner.terms)
