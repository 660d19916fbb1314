"""Damaged values: the store names them, leaves them out, and serves everything else.

A disk may lose a byte, and another program may change one. Each value is read separately, so that
a damaged value affects only its own template or subject.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from models.cohort import are_unit
from service.errors import StoreDamaged, StoreError
from service.store.audit import Event, subject_sha256
from service.store.records import (
    Damage,
    EnrolledTemplate,
    EnrolmentResult,
    GalleryTemplate,
    Part,
    Photo,
    SubjectDetail,
    SubjectExport,
    SubjectTemplates,
    Terms,
)
from service.store.vault import Cipher, LostKeyCipher, Vault, WrappedKey, of_photo

logger = logging.getLogger("likeness")

T = TypeVar("T")
U = TypeVar("U")

# The value for a damaged time; a template with this expiry has expired and never matches.
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
# `DamageLog.still_damaged` looks up at most so many subjects again.
_LOOKED_AT: Final = 100

_METADATA = TypeAdapter(dict[str, str])
_TERMS = TypeAdapter(Terms)
_QUALITY = TypeAdapter(dict[str, float])
_COUNTS = TypeAdapter(dict[str, int])
_SCOPES = TypeAdapter(list[str])
_OUTCOME = TypeAdapter(list[tuple[str, bool]])


@dataclass(slots=True)
class SubjectReader:
    """Read the values of a subject one by one, and collect the damaged ones."""

    subject: str
    damaged: list[Damage] = field(default_factory=list)

    def read(
        self,
        part: Part,
        read: Callable[[], T],
        otherwise: U,
        template_id: str | None = None,
        fingerprint: str | None = None,
    ) -> T | U:
        """Return the value that `read` returns, or `otherwise` if it raises StoreDamaged."""
        try:
            return read()
        except StoreDamaged as error:
            self.damaged.append(
                Damage(self.subject, part, error.sentence, template_id, fingerprint)
            )
            return otherwise

    def cipher(self, vault: Vault, *key: Any) -> Cipher:
        """Return the cipher of the subject's values, a LostKeyCipher if the key is damaged."""
        cipher = self.read("key", lambda: vault.cipher(WrappedKey.from_row(*key)), None)
        return LostKeyCipher() if cipher is None else cipher


def metadata_of(data: bytes) -> dict[str, str]:
    return _read(_METADATA, data)


def terms_of(data: bytes) -> Terms:
    return _read(_TERMS, data)


def quality_of(text: str) -> dict[str, float]:
    return _read(_QUALITY, text)


def counts_of(text: str) -> dict[str, int]:
    return _read(_COUNTS, text)


def scopes_of(stored: str | Sequence[str]) -> list[str]:
    """Return the scopes of an API key; SQLite stores lists as JSON."""
    return _read(_SCOPES, stored) if isinstance(stored, str) else list(stored)


def read_or_none(read: Callable[[], T | None]) -> T | None:
    """Return the value that `read` returns, None if it is damaged."""
    try:
        return read()
    except StoreDamaged:
        return None


def damage_events(damaged: Iterable[Damage], known: Collection[str]) -> list[Event]:
    """Return an audit event for each subject with damage, except for the `known` subjects."""
    counts = Counter(each.subject for each in damaged)
    return [
        Event("damaged", subject, counts={"values": count})
        for subject, count in counts.items()
        if subject_sha256(subject) not in known
    ]


def read_outcome(outcome: str) -> EnrolmentResult | None:
    """Return the recorded outcome of a request; None if it is damaged."""
    try:
        templates = _OUTCOME.validate_json(outcome)
    except ValidationError:
        return None
    return EnrolmentResult(tuple(EnrolledTemplate(*each) for each in templates), replayed=True)


def moment_of(stored: str | datetime | None) -> datetime | None:
    """Return a stored time in UTC; SQLite stores times as text. Raises StoreDamaged."""
    if stored is None:
        return None
    if isinstance(stored, datetime):
        return stored.astimezone(UTC)
    try:
        return datetime.fromisoformat(stored)
    except ValueError as exc:
        raise StoreDamaged("It is not a time.") from exc


def template_of(
    reader: SubjectReader,
    read: Callable[[], NDArray[np.float32]],
    template_id: str,
    fingerprint: str,
    quality: str,
) -> GalleryTemplate | None:
    """Return a template whose vector `(d,)` comes from `read`; None if the vector is damaged."""
    vector = reader.read("vector", read, None, template_id, fingerprint)
    if vector is None:
        return None
    none: dict[str, float] = {}
    measures = reader.read("quality", lambda: quality_of(quality), none, template_id, fingerprint)
    return GalleryTemplate(template_id, vector, fingerprint, measures)


def photo_of(reader: SubjectReader, cipher: Cipher, image_sha256: str, blob: bytes) -> Photo | None:
    """Decrypt a stored photo; None if it is damaged."""
    photo = reader.read("photo", lambda: cipher.open(blob, of_photo(image_sha256)), None)
    return None if photo is None else Photo(image_sha256, photo)


def checked(vector: NDArray[np.float32], dimension: int | None) -> NDArray[np.float32]:
    """Return the vector `(d,)` if it has unit length and that dimension. Raises StoreDamaged."""
    if dimension not in (None, len(vector)):
        raise StoreDamaged("Its dimension differs from that of its bundle.")
    if not are_unit(vector[None])[0]:
        raise StoreDamaged(NO_VECTOR)
    return vector


NO_VECTOR: Final = "It is not a vector of unit length."


SubjectRecord = TypeVar("SubjectRecord", SubjectTemplates, SubjectDetail, SubjectExport)


class DamageLog:
    """Report each damaged value once: in the log, and by `record` in the audit log.

    `dimensions` holds the dimension of the vectors of each known bundle, by fingerprint.
    """

    def __init__(self, record: Callable[[Sequence[Damage]], Awaitable[object]]) -> None:
        self.dimensions: dict[str, int] = {}
        self._record = record
        self._known: dict[Damage, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def reported(self, record: SubjectRecord) -> SubjectRecord:
        """Report the damage of a record that was read, and return the record."""
        self.report(record.damaged)
        return record

    def log_new(self, damaged: Iterable[Damage]) -> list[Damage]:
        """Log new damage and return it."""
        new = [each for each in dict.fromkeys(damaged) if each not in self._known]
        for each in new:
            self._known[each] = None
            logger.error(
                "a damaged value in the store is left out: the %s%s of the subject with the "
                "SHA-256 %s. %s Enrol the photo again, delete the subject, or restore a backup.",
                each.part,
                "" if each.template_id is None else f" of the template {each.template_id}",
                subject_sha256(each.subject),
                each.reason,
            )
        return new

    def report(self, damaged: Iterable[Damage]) -> None:
        """Log new damage, and record it in the background."""
        new = self.log_new(damaged)
        if new:
            task = asyncio.create_task(self._record_in_audit(new))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Wait until all reported damage is recorded."""
        await asyncio.gather(*self._tasks)

    async def still_damaged(
        self, export: Callable[[str], Awaitable[SubjectExport]]
    ) -> tuple[Damage, ...]:
        """Return the values that are still damaged; `export` reads all values of a subject."""
        await self.flush()
        for subject in list(dict.fromkeys(each.subject for each in self._known))[:_LOOKED_AT]:
            try:
                left = (await export(subject)).damaged
            except StoreDamaged:
                continue
            except StoreError:
                left = ()
            of_subject = [each for each in self._known if each.subject == subject]
            for each in of_subject:
                if each not in left:
                    del self._known[each]
        return tuple(self._known)

    async def _record_in_audit(self, new: Sequence[Damage]) -> None:
        try:
            await self._record(new)
        except StoreError as error:
            logger.warning("damage could not be written to the audit log: %s", error.sentence)


def _read(adapter: TypeAdapter[T], data: bytes | str) -> T:
    try:
        return adapter.validate_json(data)
    except ValidationError:
        # Its text repeats the stored value.
        raise StoreDamaged("It is not JSON of the right form.") from None
