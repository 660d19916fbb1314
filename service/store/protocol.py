"""What every engine of the store does."""

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


class Store(Protocol):
    """Keep subjects and their templates; every method raises StoreUnavailable.

    A template's id names a photo of a subject: what several bundles made of it shares the id
    and the expiry, and goes together. A photo is kept if it is given, as long as a template.
    A subject is in one collection, and is searched with the others there alone: in a named one,
    or in the default one, which is named "" and always there. What takes a subject finds it
    wherever it is. Whatever changes is in the audit log, with the id of the key `by` which it
    was asked for.

    A value that was damaged, and cannot be read, is left out of every answer: it is named in the
    log and the audit log, and in what is shown of its subject; all else is served. Deleting the
    subject, or enrolling the photo again, mends it. Where nothing can be answered without it,
    methods raise StoreDamaged.
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
        """Add templates to a subject, all or none, durable when it returns.

        A template of the same subject, image and fingerprint is there already and keeps its
        id; its expiry, the subject's metadata and its terms are replaced if given, kept if None.
        An expired one counts as gone and is created anew. A request with a known key and
        digest has no effect and gets the outcome it had the first time: for a day, or until a
        template that it names is erased, expires or goes by another name. Nothing is kept of it
        then, and the request enrols anew.
        Raises TemplateIdTaken, IdempotencyConflict, CollectionNotFound, SubjectElsewhere if
        the subject is in another collection, and InvalidRequest for an expiry that has passed;
        then nothing is written.
        """
        ...

    async def templates_of(self, subject: str) -> SubjectTemplates:
        """Return what a probe is compared with to verify a subject. Raises SubjectNotFound."""
        ...

    async def compare_by(self, fingerprint: str, cohort: Cohort, dimension: int = 0) -> None:
        """Let the templates of a bundle be searched by the scores of its cohort from now on.

        What was placed by another cohort, or by none, is placed anew before this returns; of a
        large gallery that may take minutes, in which a store may refuse to enrol. Each process
        says it of each bundle that it loads, with `NO_COHORT` if the bundle has none, before
        it enrols or searches. A fingerprint of which it was never said is searched by cosines.
        With a dimension, vectors of the bundle that have another count as damaged.
        """
        ...

    async def templates_of_each(self, subjects: Sequence[str]) -> list[SubjectTemplates]:
        """Return the same of several subjects, leaving out those that are not there."""
        ...

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str = "",
        besides: str | None = None,
    ) -> list[Candidate]:
        """Return the `limit` most similar subjects by their best unexpired template, best first.

        `vector` is (d,) float32 of unit length. Similarity is the score by the cohort that
        `compare_by` was given. Only templates of the same collection and fingerprint are
        compared, none if there is no such collection. A template that is enrolled is found at
        once, one that is deleted never. Left out is the subject `besides`: who looks for others
        like one of the gallery would find that one first, and a store may look less far once it
        has found somebody who stands out.
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
        """Return whose a template is, expired ones included. Raises TemplateNotFound."""
        ...

    async def export(self, subject: str) -> SubjectExport:
        """Return everything stored about a subject. Raises SubjectNotFound."""
        ...

    async def odd_names(self, after: str | None, limit: int) -> Page[OddName]:
        """Return subjects that keep a name of an earlier release, after one, at most `limit`.

        Opening a store puts such names into the form of today, unless two would become one.
        """
        ...

    async def rename_subject(self, subject: str, to: str, by: str | None = None) -> AuditEntry:
        """Give a subject another name, all else being as it was; found by it when this returns.

        Returns the receipt. Subjects never become one: raises SubjectExists for a name in use,
        the same one included, in any collection. Raises SubjectNotFound.
        """
        ...

    async def delete_subject(self, subject: str, by: str | None = None) -> Deletion:
        """Erase a subject and its templates, complete when it returns. Raises SubjectNotFound."""
        ...

    async def delete_template(
        self, subject: str, template_id: str, by: str | None = None
    ) -> Deletion:
        """Erase a template, and the subject with its last one, complete when it returns.

        Raises SubjectNotFound, TemplateNotFound.
        """
        ...

    async def sweep(self, limit: int) -> Deletion:
        """Erase templates that have expired, at most `limit`, and subjects left without one."""
        ...

    async def count(self, collection: str | None = None) -> Counts:
        """Count what is stored, in one collection or in all."""
        ...

    async def has_others(self, fingerprint: str, collection: str = "") -> bool:
        """Tell whether a collection has an unexpired template that another bundle made."""
        ...

    async def create_collection(self, name: str, by: str | None = None) -> Collection:
        """Make a collection. Raises CollectionExists."""
        ...

    async def collections(self, after: str | None, limit: int) -> Page[Collection]:
        """Return the named collections after a name, in code point order, at most `limit`."""
        ...

    async def collection(self, name: str) -> Collection:
        """Describe a named collection. Raises CollectionNotFound."""
        ...

    async def delete_collection(self, name: str, by: str | None = None) -> Deletion:
        """Erase a named collection and its subjects, complete when it returns.

        A large one goes step by step, the collection itself last. Who enrols meanwhile is erased
        too, or gets CollectionNotFound. Raises CollectionNotFound.
        """
        ...

    async def lacking(
        self, change: Change, after: int, limit: int, collection: str | None = None
    ) -> list[MissingTemplate]:
        """Return photos that the new bundle has no template of, at most `limit`, by number.

        Those of unexpired templates of the old bundle, in one collection or in all; numbers are
        positive.
        """
        ...

    async def lack(self, change: Change, collection: str | None = None) -> MissingCounts:
        """Count them."""
        ...

    async def photo(self, subject: str, template_id: str) -> Photo | str:
        """Return the photo of a template, or its digest if it was not kept.

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
        """Add what another bundle made of a template's photo; False if it is there already.

        `vector` is (d,) float32 of unit length; id and expiry are those of the template, and so is
        the quality, if none is given.
        Raises SubjectNotFound, TemplateNotFound: what was deleted does not come back. Raises
        DegenerateVector.
        """
        ...

    async def fingerprints(self) -> dict[str, int]:
        """Return how many templates each bundle made, by its fingerprint."""
        ...

    async def switched_to(self) -> str | None:
        """Return the fingerprint that was switched to last, by whichever process."""
        ...

    async def switch_to(self, fingerprint: str, by: str | None = None) -> None:
        """Let the bundle of a fingerprint serve, in every process that has it loaded."""
        ...

    async def forget(self, fingerprint: str, by: str | None = None) -> Deletion:
        """Erase every template of a bundle, and the subjects that have no other."""
        ...

    async def reseal(self, limit: int, by: str | None = None) -> ResealCounts:
        """Wrap keys by the current master key and seal subjects, at most `limit` of both.

        Raises NoMasterKey.
        """
        ...

    async def add_key(self, key: ApiKey, by: str | None = None) -> None:
        """Keep a key, which counts everywhere when this returns."""
        ...

    async def key(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, revoked or not."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all keys, oldest first, revoked ones included."""
        ...

    async def revoke_key(self, key_id: str, by: str | None = None) -> bool:
        """Let a key count no longer, anywhere, when this returns; False if there is none.

        What it signed with is destroyed.
        """
        ...

    async def audit(self, after: int, limit: int) -> list[AuditEntry]:
        """Return entries of the audit log beyond a number, at most `limit`, oldest first."""
        ...

    async def damage(self) -> tuple[Damage, ...]:
        """Return what this process has met that cannot be read, and is damaged still."""
        ...

    async def ping(self) -> None:
        """Return if the store can be written to now."""
        ...

    async def close(self) -> None:
        """Finish what was asked for and let go of the database; may be called again."""
        ...
