"""The records that go into a store and come out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.cohort import are_unit
from models.errors import DegenerateVector
from service.errors import FieldError, InvalidRequest
from service.store.audit import AuditEntry
from service.store.vault import WrappedKey

Clock = Callable[[], datetime]

# How long the result of a request is kept under its idempotency key.
IDEMPOTENCY_LASTS = timedelta(hours=24)

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class NewTemplate:
    """Hold a template to enrol.

    `vector` is (d,) float32 of unit length. `expires_at` has a time zone, or is None for a
    template that stays until it is deleted. `photo` is None if the photo is not to be kept. Raises
    DegenerateVector, and InvalidRequest for an expiry without a time zone or beyond the calendar.
    Whether it has passed is checked by the store, which has the clock (see `check_ahead`).
    """

    template_id: str
    vector: NDArray[np.float32]
    fingerprint: str
    image_sha256: str
    quality: dict[str, float]
    expires_at: datetime | None = None
    photo: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_vector(self.vector)
        if self.expires_at is not None:
            _check_moment(self.expires_at)


@dataclass(frozen=True, slots=True)
class Terms:
    """Hold the consent and the purpose for which a subject is stored, as given at enrolment."""

    consent: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Identify a request, so that sending it again has no second effect."""

    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class EnrolledTemplate:
    """Hold the id of a template, and whether the enrolment created it."""

    template_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """Hold one outcome per template of an enrolment, in order.

    `replayed` says that this is the result of an earlier request with the same idempotency key.
    """

    templates: tuple[EnrolledTemplate, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """Describe a template without its vector; times are UTC."""

    template_id: str
    subject: str
    fingerprint: str
    image_sha256: str
    quality: dict[str, float]
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class ExportedTemplate:
    """Hold all data of a template; `vector` is (d,) float32 of unit length."""

    template_id: str
    subject: str
    fingerprint: str
    image_sha256: str
    quality: dict[str, float]
    created_at: datetime
    expires_at: datetime | None
    vector: NDArray[np.float32]

    @classmethod
    def of(cls, stored: StoredTemplate, vector: NDArray[np.float32]) -> "ExportedTemplate":
        return cls(
            stored.template_id,
            stored.subject,
            stored.fingerprint,
            stored.image_sha256,
            stored.quality,
            stored.created_at,
            stored.expires_at,
            vector,
        )


Part = Literal["key", "metadata", "terms", "times", "quality", "vector", "photo"]


@dataclass(frozen=True, slots=True)
class Damage:
    """Name a stored value that cannot be read: its subject, its kind, and the reason.

    `fingerprint` is of the bundle that made the template, if the value is a template's.
    """

    subject: str
    part: Part
    reason: str = field(compare=False)
    template_id: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GalleryTemplate:
    """Hold a template to compare a probe with; `vector` is (d,) float32 of unit length.

    `quality` holds the stored quality measures of its photo.
    """

    template_id: str
    vector: NDArray[np.float32]
    fingerprint: str
    quality: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class SubjectTemplates:
    """Hold the unexpired templates of one subject, oldest first; empty if all have expired.

    Damaged templates are left out and listed in `damaged`.
    """

    subject: str
    collection: str
    templates: tuple[GalleryTemplate, ...]
    damaged: tuple[Damage, ...] = ()

    def made_by(self, fingerprint: str) -> list[GalleryTemplate]:
        """Return the templates of one bundle."""
        return [each for each in self.templates if each.fingerprint == fingerprint]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold a subject's best template for a probe.

    `similarity` is the score by the cohort of the bundle, -2 to 1; `cosine` is -1 to 1.
    """

    subject: str
    template_id: str
    similarity: float
    cosine: float


@dataclass(frozen=True, slots=True)
class SubjectSummary:
    """Describe a subject; `templates` counts its templates, including expired ones.

    `damaged` lists damage of the fields here, not of templates.
    """

    subject: str
    templates: int
    created_at: datetime
    metadata: dict[str, str]
    terms: Terms
    fingerprints: tuple[str, ...]
    collection: str
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectDetail:
    """Describe a subject and its templates, oldest first, including expired ones."""

    subject: str
    created_at: datetime
    metadata: dict[str, str]
    terms: Terms
    templates: tuple[StoredTemplate, ...]
    collection: str
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class OddName:
    """Hold a subject's name that is not in today's form; `name` is its form of today, if any."""

    subject: str
    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Photo:
    """Hold the original bytes of a photo."""

    image_sha256: str
    photo: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SubjectExport:
    """Hold all data of a subject; damaged values are left out and listed in `damaged`."""

    subject: str
    created_at: datetime
    metadata: dict[str, str]
    terms: Terms
    templates: tuple[ExportedTemplate, ...]
    photos: tuple[Photo, ...] = ()
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Hold some items and, if there are more, the value of `after` for the next page."""

    items: tuple[T_co, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """Name the bundle that serves and the bundle to change to, by their fingerprints."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class MissingTemplate:
    """Name a photo that the new bundle has no template of; `number` orders them."""

    number: int
    subject: str
    template_id: str
    image_sha256: str
    has_photo: bool


@dataclass(frozen=True, slots=True)
class MissingCounts:
    """Count the photos that the new bundle has no template of, and how many were not kept."""

    templates: int
    without_photo: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Describe an API key by a digest of its secret; the key itself is not stored.

    `digest` is the SHA-256 of the secret, or its scrypt digest if there is a `salt`, as for keys
    of earlier releases. `per_s` and `at_once` limit requests; None is no limit. A revoked key
    stays listed. `signing` is the encrypted secret, 32 bytes, of a key that can sign, until it is
    revoked.
    """

    key_id: str
    name: str
    scopes: tuple[str, ...]
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    per_s: float | None
    at_once: int | None
    created_at: datetime
    revoked_at: datetime | None = None
    signing: WrappedKey | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """Count what was erased; `receipt` is its entry in the audit log."""

    subjects: int
    templates: int
    receipt: AuditEntry | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ResealCounts:
    """Count the keys and subjects that were encrypted, and those of both that are left."""

    rewrapped: int
    sealed: int
    left: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Count subjects and templates, including expired templates."""

    subjects: int
    templates: int


@dataclass(frozen=True, slots=True)
class Collection:
    """Describe a named collection."""

    name: str
    created_at: datetime
    counts: Counts


def check_vector(vector: NDArray[np.float32]) -> None:
    """Raise DegenerateVector unless a vector `(d,)` is finite and of unit length."""
    if vector.ndim != 1 or not are_unit(vector[None])[0]:
        raise DegenerateVector("The face vector is not finite or not of unit length.")


def check_ahead(expires_at: datetime | None, now: datetime) -> None:
    """Raise InvalidRequest for an invalid expiry, or one that is not after `now`."""
    if expires_at is None:
        return
    _check_moment(expires_at)
    if expires_at <= now:
        raise _not_an_expiry(
            "This time has passed, so the template would never match. Give a later time, or leave "
            "it out for no expiry."
        )


def _check_moment(moment: datetime) -> None:
    message = "Give a time with its zone, such as 2030-01-01T00:00:00Z."
    if moment.utcoffset() is not None:
        try:
            moment.astimezone(UTC)
        except OverflowError:
            message = "This time is beyond the calendar; leave it out for no expiry."
        else:
            return
    raise _not_an_expiry(message)


def _not_an_expiry(message: str) -> InvalidRequest:
    return InvalidRequest(f"expires_at: {message}", [FieldError("expires_at", message)])
