"""What goes into a store and what comes out of it."""

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

    `vector` is (d,) float32 of unit length; `expires_at` has a time zone, or is None for a
    template that stays until it is deleted; `photo` is to be kept, or None. Raises
    DegenerateVector, and InvalidRequest for an expiry without a time zone or beyond the calendar;
    whether it has passed is for the store to say, which has the clock (see `check_ahead`).
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
    """Say on what ground a subject is stored and what for, in the words of who enrolled it."""

    consent: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Name a request, so that sending it again has no second effect."""

    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class EnrolledTemplate:
    """Say which id a template has, and whether it was created or there before."""

    template_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """Hold one outcome per template given, in their order.

    `replayed` says that the outcome is that of an earlier request with the same key.
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
    """Hold everything stored about a template; `vector` is (d,) float32 of unit length."""

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
    """Name a value that is stored and cannot be read: whose it is, what it is, and why.

    `fingerprint` is of the bundle that made the template, if the value is a template's.
    """

    subject: str
    part: Part
    reason: str = field(compare=False)
    template_id: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GalleryTemplate:
    """Hold what a probe is compared with; `vector` is (d,) float32 of unit length.

    `quality` holds the measures of its photo that were stored beside it.
    """

    template_id: str
    vector: NDArray[np.float32]
    fingerprint: str
    quality: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class SubjectTemplates:
    """Hold the unexpired templates of one subject, oldest first; empty if all have expired.

    Those that cannot be read are left out, and `damaged` says so.
    """

    subject: str
    collection: str
    templates: tuple[GalleryTemplate, ...]
    damaged: tuple[Damage, ...] = ()

    def made_by(self, fingerprint: str) -> list[GalleryTemplate]:
        """Return those of one bundle."""
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
    """Describe a subject; `templates` counts those stored, expired ones included.

    `damaged` tells of what is shown here, not of templates.
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
    """Describe a subject and its templates, oldest first, expired ones included."""

    subject: str
    created_at: datetime
    metadata: dict[str, str]
    terms: Terms
    templates: tuple[StoredTemplate, ...]
    collection: str
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class OddName:
    """Hold a subject's name that could not be given now; `name` is what it would be, if any."""

    subject: str
    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Photo:
    """Hold a photo as it was sent."""

    image_sha256: str
    photo: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SubjectExport:
    """Hold everything stored about a subject but what is `damaged`, and cannot be read."""

    subject: str
    created_at: datetime
    metadata: dict[str, str]
    terms: Terms
    templates: tuple[ExportedTemplate, ...]
    photos: tuple[Photo, ...] = ()
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Hold some items and, if there are more, what to pass as `after` to get the next."""

    items: tuple[T_co, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """Name two bundles by their fingerprints: what served, and what is to."""

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
    """Count the photos that the new bundle has no template of, and those not kept of them."""

    templates: int
    without_photo: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Hold what is known of a key: never the key, only what its secret is checked by.

    `digest` is the SHA-256 of the secret; with a `salt`, which keys of earlier releases have, it
    is by scrypt.
    `per_s` and `at_once` limit requests, None does not; a key that was revoked stays listed.
    `signing` is the secret of a key that can sign, until it is revoked: 32 bytes, wrapped.
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
    """Count what is gone; `receipt` is the entry of the audit log that says so."""

    subjects: int
    templates: int
    receipt: AuditEntry | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ResealCounts:
    """Count the keys wrapped anew, the subjects sealed, and of both how many are left to do."""

    rewrapped: int
    sealed: int
    left: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Count what is stored, expired templates included."""

    subjects: int
    templates: int


@dataclass(frozen=True, slots=True)
class Collection:
    """Describe a gallery of its own."""

    name: str
    created_at: datetime
    counts: Counts


def check_vector(vector: NDArray[np.float32]) -> None:
    """Raise DegenerateVector unless a vector `(d,)` is finite and of unit length."""
    if vector.ndim != 1 or not are_unit(vector[None])[0]:
        raise DegenerateVector("The face vector is not finite or not of unit length; not stored.")


def check_ahead(expires_at: datetime | None, now: datetime) -> None:
    """Raise InvalidRequest for an expiry that is no moment, or that is not after `now`."""
    if expires_at is None:
        return
    _check_moment(expires_at)
    if expires_at <= now:
        raise _not_an_expiry(
            "This time has passed: the template would never match. Give a later one, or leave "
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
