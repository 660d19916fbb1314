"""What is stored of a subject beside its templates, sealed or not."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from service.store.records import Terms
from service.store.vault import Cipher, Owner, Vault, Wrapped


@dataclass(frozen=True, slots=True)
class Particulars:
    """Hold them opened, and what opens and seals the subject's templates and photos."""

    owner: Owner
    metadata: dict[str, str]
    terms: Terms
    cipher: Cipher

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
    ) -> "Particulars":
        """Open what the row of a subject and that of its key hold. Raises StoreUnavailable."""
        cipher = vault.cipher(Wrapped.read(key_id, master, wrapped))
        return cls(
            owner,
            json.loads(cipher.open(metadata, owner.metadata)),
            Terms() if terms is None else Terms(**json.loads(cipher.open(terms, owner.terms))),
            cipher,
        )


def sealed_metadata(cipher: Cipher, owner: Owner, metadata: Mapping[str, str]) -> bytes:
    return cipher.seal(json.dumps(dict(metadata)).encode(), owner.metadata)


def sealed_terms(cipher: Cipher, owner: Owner, terms: Terms) -> bytes:
    return cipher.seal(json.dumps(asdict(terms)).encode(), owner.terms)
