"""The audit log: a list of all changes, in which each entry contains the digest of the one before.

It holds no image, vector or name. A subject appears as the SHA-256 of its name, and so does a
collection in its own entries; both stay in the log after an erasure. A large collection is erased
in steps, and the last entry counts what all steps erased. If an entry is changed or removed, the
chain breaks at that entry. If the last entries are removed, the chain does not break: keep a
receipt in another place to detect that.
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
    """Hold what happened: the action, its subject, the API key that asked, and counts."""

    action: Action
    subject: str | None = None
    key_id: str | None = None
    counts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Hold an entry of the audit log; `digest` covers all other fields, including `previous`."""

    number: int
    at: datetime
    action: str
    subject_sha256: str | None
    key_id: str | None
    counts: Mapping[str, int]
    previous: str
    digest: str


def next_entry(event: Event, number: int, previous: str, at: datetime) -> AuditEntry:
    """Make the entry that follows the entry with the digest `previous`."""
    subject = None if event.subject is None else subject_sha256(event.subject)
    counts = dict(event.counts or {})
    digest = _digest(number, at, event.action, subject, event.key_id, counts, previous)
    return AuditEntry(number, at, event.action, subject, event.key_id, counts, previous, digest)


def subject_sha256(subject: str) -> str:
    """Return the SHA-256 that stands for a subject in the audit log."""
    return hashlib.sha256(subject.encode()).hexdigest()


def first_break(
    entries: Iterable[AuditEntry], number: int = 1, previous: str = START
) -> int | None:
    """Return the number of the first entry that was changed or follows a gap; None if all are good.

    `number` and `previous` are the values that the first of these entries should have.
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
    fields = [number, moment, action, subject, key_id, dict(counts), previous]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
