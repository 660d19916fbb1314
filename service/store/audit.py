"""A log of what changed, each entry sealed with the one before it.

No image, vector or name is in it: a subject is its SHA-256, which only who knows the name can
tell, and which stays when the subject is erased; so is a collection in the entries about one.
A large collection is erased in steps: the last entry counts what all of them erased. Changing or
removing an entry breaks the chain from there on; cutting off its end does not, so keep a receipt
elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

Action = Literal[
    "enrolled",
    "reembedded",
    "renamed_from",
    "renamed_to",
    "subject_deleted",
    "template_deleted",
    "expired",
    "erased_again",
    "resealed",
    "collection_created",
    "collection_emptied",
    "collection_deleted",
    "bundle_forgotten",
    "switched",
    "key_created",
    "key_revoked",
    "damaged",
]

START: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """Hold what happened: to which subject, by which key, how many of what."""

    action: Action
    subject: str | None = None
    key_id: str | None = None
    counts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Hold an entry; `digest` seals all of it, `previous` included."""

    number: int
    at: datetime
    action: str
    subject_sha256: str | None
    key_id: str | None
    counts: Mapping[str, int]
    previous: str
    digest: str


def seal(event: Event, number: int, previous: str, at: datetime) -> AuditEntry:
    """Make the entry that follows one with the digest `previous`."""
    subject = None if event.subject is None else subject_sha256(event.subject)
    counts = dict(event.counts or {})
    digest = _digest(number, at, event.action, subject, event.key_id, counts, previous)
    return AuditEntry(number, at, event.action, subject, event.key_id, counts, previous, digest)


def subject_sha256(subject: str) -> str:
    """Return what stands for a subject in the log."""
    return hashlib.sha256(subject.encode()).hexdigest()


def first_break(
    entries: Iterable[AuditEntry], number: int = 1, previous: str = START
) -> int | None:
    """Return the number of the first entry that is not what was written, None if all are.

    `number` and `previous` are what the first of these entries should have.
    """
    for entry in entries:
        digest = _digest(
            entry.number,
            entry.at,
            entry.action,
            entry.subject_sha256,
            entry.key_id,
            entry.counts,
            entry.previous,
        )
        if (entry.number, entry.previous, entry.digest) != (number, previous, digest):
            return number
        number, previous = number + 1, digest
    return None


def _digest(
    number: int,
    at: datetime,
    action: str,
    subject: str | None,
    key_id: str | None,
    counts: Mapping[str, int],
    previous: str,
) -> str:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    sealed = [number, moment, action, subject, key_id, dict(counts), previous]
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()
