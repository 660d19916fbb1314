"""The protocols of the store: one for each concern, and `Store` for all of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort
from service.store.audit import AuditEntry
from service.store.records import (
    ApiKey,
    Candidate,
    Change,
    Collection,
    Counts,
    Damage,
    Deletion,
    EnrolmentResult,
    Idempotency,
    MissingCounts,
    MissingTemplate,
    NewTemplate,
    OddName,
    Page,
    Photo,
    ResealCounts,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
    Terms,
)


class Gallery(Protocol):
    """Keep subjects and their templates.

    A template's id names a photo of a subject: the templates that several bundles made of one
    photo share the id and the expiry, and are deleted together. A photo is kept only if it is
    given, and as long as a template of it. A subject is in one collection and is searched only
    with the other subjects of that collection. The default collection is named "" and always
    exists. A method that takes a subject finds it in any collection.
    """

    async def enroll(
        self,
        subject: str,
        templates: Sequence[NewTemplate],
        metadata: Mapping[str, str] | None = None,
        idempotency: Idempotency | None = None,
        by: str | None = None,
        terms: Terms | None = None,
        collection: str = "",
    ) -> EnrolmentResult:
        """Add templates to a subject, all or none.

        If the subject has a template of the same image and fingerprint, that template keeps its
        id; its expiry, the subject's metadata and terms are replaced if given and kept if None.
        An expired template counts as deleted and is created again. A request with a known
        idempotency key and digest has no effect and gets its first result again: for a day, or
        until a template that it names is erased, expires or its subject is renamed. After that
        the result is forgotten, and the request enrols again.
        Raises TemplateIdTaken, IdempotencyConflict, CollectionNotFound, SubjectElsewhere if
        the subject is in another collection, and InvalidRequest if the expiry has passed. Then
        nothing is written.
        """
        ...

    async def templates_of(self, subject: str) -> SubjectTemplates:
        """Return the unexpired templates of a subject. Raises SubjectNotFound."""
        ...

    async def templates_of_each(self, subjects: Sequence[str]) -> list[SubjectTemplates]:
        """Return the unexpired templates of several subjects; unknown subjects are left out."""
        ...

    async def compare_by(self, fingerprint: str, cohort: Cohort, dimension: int = 0) -> None:
        """Search the templates of a bundle by the scores of its cohort from now on.

        Templates that were prepared for another cohort are prepared again before this returns; in
        a large gallery that may take minutes, and a store may refuse to enrol meanwhile. Each
        process calls this for each bundle that it loads, with `NO_COHORT` if the bundle has none,
        before it enrols or searches. Without a call, a fingerprint is searched by cosines. If a
        dimension is given, vectors of the bundle with another dimension count as damaged.
        """
        ...

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str = "",
        exclude: str | None = None,
    ) -> list[Candidate]:
        """Return the `limit` most similar subjects by their best unexpired template, best first.

        `vector` is (d,) float32 of unit length. Similarity is the score by the cohort that
        `compare_by` was given. Only templates of the same collection and fingerprint are
        compared, none if there is no such collection. An enrolled template is found at once, a
        deleted template never. The subject `exclude` is left out: in a search for people who
        resemble that subject, it would be found first, and a store may stop early when it has
        found a clear best match.
        """
        ...

    async def subjects(
        self, after: str | None, limit: int, collection: str = ""
    ) -> Page[SubjectSummary]:
        """Return a collection's subjects after an id, in code point order, at most `limit`."""
        ...

    async def subject(self, subject: str) -> SubjectDetail:
        """Describe a subject and its templates. Raises SubjectNotFound."""
        ...

    async def subject_of(self, template_id: str) -> str:
        """Return the subject of a template, expired or not. Raises TemplateNotFound."""
        ...

    async def export(self, subject: str) -> SubjectExport:
        """Return everything stored about a subject. Raises SubjectNotFound."""
        ...

    async def odd_names(self, after: str | None, limit: int) -> Page[OddName]:
        """Return subjects with a name that is not in today's form, after one, at most `limit`.

        Such names come from earlier releases. A store brings them into today's form when it is
        opened, unless two names would become the same.
        """
        ...

    async def rename_subject(self, subject: str, to: str, by: str | None = None) -> AuditEntry:
        """Rename a subject and return the receipt; nothing else of the subject changes.

        Raises SubjectExists if the name is in use in any collection, even by this subject;
        SubjectNotFound.
        """
        ...

    async def delete_subject(self, subject: str, by: str | None = None) -> Deletion:
        """Erase a subject and its templates before this returns. Raises SubjectNotFound."""
        ...

    async def delete_template(
        self, subject: str, template_id: str, by: str | None = None
    ) -> Deletion:
        """Erase a template, and the subject with its last template, before this returns.

        Raises SubjectNotFound, TemplateNotFound.
        """
        ...

    async def sweep(self, limit: int) -> Deletion:
        """Erase expired templates, at most `limit`, and subjects that have no template left."""
        ...

    async def count(self, collection: str | None = None) -> Counts:
        """Count subjects and templates, in one collection or in all."""
        ...

    async def has_others(self, fingerprint: str, collection: str = "") -> bool:
        """Tell whether a collection has an unexpired template that another bundle made."""
        ...


class Collections(Protocol):
    """Keep the named collections of subjects."""

    async def create_collection(self, name: str, by: str | None = None) -> Collection:
        """Create a collection. Raises CollectionExists."""
        ...

    async def collections(self, after: str | None, limit: int) -> Page[Collection]:
        """Return the named collections after a name, in code point order, at most `limit`."""
        ...

    async def collection(self, name: str) -> Collection:
        """Describe a named collection. Raises CollectionNotFound."""
        ...

    async def delete_collection(self, name: str, by: str | None = None) -> Deletion:
        """Erase a named collection and its subjects before this returns.

        A large collection is erased in steps, the collection itself last. An enrolment meanwhile
        is erased too, or raises CollectionNotFound. Raises CollectionNotFound.
        """
        ...


class Changes(Protocol):
    """Change from one bundle to another: add its templates, then let it serve."""

    async def lacking(
        self, change: Change, after: int, limit: int, collection: str | None = None
    ) -> list[MissingTemplate]:
        """Return photos that the new bundle has no template of, at most `limit`, by number.

        These are the photos of unexpired templates of the old bundle, in one collection or in
        all. Numbers are positive.
        """
        ...

    async def lack(self, change: Change, collection: str | None = None) -> MissingCounts:
        """Count the photos that the new bundle has no template of."""
        ...

    async def photo(self, subject: str, template_id: str) -> Photo | str:
        """Return the photo of a template, or the photo's SHA-256 if it was not kept.

        Raises SubjectNotFound, TemplateNotFound.
        """
        ...

    async def add_vector(
        self,
        subject: str,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        by: str | None = None,
        quality: Mapping[str, float] | None = None,
    ) -> bool:
        """Add another bundle's vector of a template's photo; return False if there is one already.

        `vector` is (d,) float32 of unit length. It gets the template's id and expiry, and its
        quality unless another is given.
        Raises SubjectNotFound and TemplateNotFound, so that deleted templates do not come back,
        and DegenerateVector.
        """
        ...

    async def fingerprints(self) -> dict[str, int]:
        """Return the number of templates of each bundle, by its fingerprint."""
        ...

    async def switched_to(self) -> str | None:
        """Return the fingerprint of the last switch, by any process; None if there was none."""
        ...

    async def switch_to(self, fingerprint: str, by: str | None = None) -> None:
        """Make every process that has loaded this bundle serve it from now on."""
        ...

    async def forget(self, fingerprint: str, by: str | None = None) -> Deletion:
        """Erase every template of a bundle, and the subjects that have no other template."""
        ...


class Keys(Protocol):
    """Keep API keys."""

    async def add_key(self, key: ApiKey, by: str | None = None) -> None:
        """Keep an API key; it is valid in every process when this returns."""
        ...

    async def key(self, key_id: str) -> ApiKey | None:
        """Return an API key by its id, revoked or not."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all API keys, oldest first, including revoked ones."""
        ...

    async def revoke_key(self, key_id: str, by: str | None = None) -> bool:
        """Revoke an API key in every process before this returns; return False if there is none.

        Its signing secret is destroyed.
        """
        ...


class AuditLog(Protocol):
    """Keep the log of all changes, and know the damaged values."""

    async def audit(self, after: int, limit: int) -> list[AuditEntry]:
        """Return entries of the audit log after a number, at most `limit`, oldest first."""
        ...

    async def damage(self) -> tuple[Damage, ...]:
        """Return the damaged values that this process has met and that are still damaged."""
        ...


class Store(Gallery, Collections, Changes, Keys, AuditLog, Protocol):
    """Keep everything in one database; every method raises StoreUnavailable.

    Every change is in the audit log, with the id of the API key `by` which it was requested.

    A damaged value is left out of every answer. It is named in the log, in the audit log and in
    the description of its subject; everything else is served. To repair it, delete the subject or
    enrol the photo again. Methods that need the value to answer raise StoreDamaged.
    """

    async def reseal(self, limit: int, by: str | None = None) -> ResealCounts:
        """Encrypt keys by the current master key and unencrypted subjects, at most `limit` of both.

        Raises NoMasterKey.
        """
        ...

    async def ping(self) -> None:
        """Check that the store can be written to now; raises StoreUnavailable otherwise."""
        ...

    async def close(self) -> None:
        """Finish all requests and close the database; may be called again."""
        ...
