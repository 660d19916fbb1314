"""The store: it runs the functions of this package in the sessions of an engine."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort
from service.errors import NoMasterKey, StoreDamaged
from service.store.audit import AuditEntry
from service.store.damage import DamageLog
from service.store.names import is_odd, log_left, new_names
from service.store.records import (
    ApiKey,
    Candidate,
    Change,
    Clock,
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
from service.store.sql import audit_log, collections, keys, names, read, sealing, write
from service.store.sql import change as changing
from service.store.sql.session import Engine
from service.store.sql.write import Enrolment

logger = logging.getLogger("likeness")


class SqlStore:
    """Implement the protocol `Store` over an engine; it caches no data that may change."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._damage = DamageLog(self._record)

    @classmethod
    async def open(cls, engine: Engine, clock: Clock) -> "SqlStore":
        """Prepare the database of an engine. Raises InvalidSettings, StoreUnavailable.

        The engine is closed if this raises.
        """
        store = cls(engine, clock)
        try:
            try:
                await store._prepare()
            except StoreDamaged as error:
                # The undamaged values are still served.
                logger.error("%s", error.sentence)
            damaged = await engine.load()
            if new := store._damage.log_new(damaged):
                await store._record(new)
        except BaseException:
            await engine.close()
            raise
        return store

    async def _prepare(self) -> None:
        engine = self._engine
        while await engine.write(lambda s: write.forget_requests(s, self._clock())):
            pass
        await engine.write(lambda s: sealing.make_ready(s, self._clock()))
        while await engine.write(sealing.bind):
            pass
        marked = await engine.read(names.marked)
        # A replica of an earlier release enrolled those that are marked and in today's form.
        if plain := [subject for subject in marked if not is_odd(subject)]:
            await engine.write(lambda s: names.unmark(s, plain))
        new = iter(new_names(marked).items())
        while some := dict(islice(new, engine.batch)):
            await engine.write(partial(names.settle, names=some, now=self._clock()))
        log_left(len(await engine.read(names.marked)) if marked else 0)

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
        enrolment = Enrolment(subject, templates, metadata, idempotency, by, terms, collection)
        searched_in = {(collection, each.fingerprint, len(each.vector)) for each in templates}
        return await self._engine.write(
            lambda s: write.enroll(s, enrolment, self._clock()), searched_in=list(searched_in)
        )

    async def templates_of(self, subject: str) -> SubjectTemplates:
        dimensions = self._damage.dimensions
        return self._damage.reported(
            await self._engine.read(
                lambda s: read.templates_of(s, subject, self._clock(), dimensions)
            )
        )

    async def templates_of_each(self, subjects: Sequence[str]) -> list[SubjectTemplates]:
        dimensions = self._damage.dimensions
        found = await self._engine.read(
            lambda s: read.templates_of_each(s, subjects, self._clock(), dimensions)
        )
        return [self._damage.reported(each) for each in found]

    async def compare_by(self, fingerprint: str, cohort: Cohort, dimension: int = 0) -> None:
        if dimension:
            self._damage.dimensions[fingerprint] = dimension
        await self._engine.compare_by(fingerprint, cohort)

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str = "",
        exclude: str | None = None,
    ) -> list[Candidate]:
        found, damaged = await self._engine.search(
            vector, fingerprint, limit, collection, exclude, self._clock
        )
        self._damage.report(damaged)
        return found

    async def subjects(
        self, after: str | None, limit: int, collection: str = ""
    ) -> Page[SubjectSummary]:
        page = await self._engine.read(lambda s: read.subjects_page(s, after, limit, collection))
        self._damage.report(chain(*(each.damaged for each in page.items)))
        return page

    async def subject(self, subject: str) -> SubjectDetail:
        return self._damage.reported(
            await self._engine.read(
                lambda s: read.subject_detail(s, subject, self._damage.dimensions)
            )
        )

    async def subject_of(self, template_id: str) -> str:
        return await self._engine.read(lambda s: read.subject_of(s, template_id))

    async def export(self, subject: str) -> SubjectExport:
        return self._damage.reported(
            await self._engine.read(lambda s: read.export(s, subject, self._damage.dimensions))
        )

    async def odd_names(self, after: str | None, limit: int) -> Page[OddName]:
        return await self._engine.read(lambda s: names.odd_names(s, after, limit))

    async def rename_subject(self, subject: str, to: str, by: str | None = None) -> AuditEntry:
        return await self._engine.write(lambda s: names.rename(s, subject, to, by, self._clock()))

    async def delete_subject(self, subject: str, by: str | None = None) -> Deletion:
        return await self._engine.write(
            lambda s: write.delete_subject(s, subject, by, self._clock()), makes_room=True
        )

    async def delete_template(
        self, subject: str, template_id: str, by: str | None = None
    ) -> Deletion:
        return await self._engine.write(
            lambda s: write.delete_template(s, subject, template_id, by, self._clock()),
            makes_room=True,
        )

    async def sweep(self, limit: int) -> Deletion:
        return await self._engine.write(
            lambda s: write.sweep(s, limit, self._clock()), makes_room=True
        )

    async def count(self, collection: str | None = None) -> Counts:
        return await self._engine.read(lambda s: read.count(s, collection))

    async def has_others(self, fingerprint: str, collection: str = "") -> bool:
        return await self._engine.read(
            lambda s: read.has_others(s, fingerprint, collection, self._clock())
        )

    async def create_collection(self, name: str, by: str | None = None) -> Collection:
        return await self._engine.write(lambda s: collections.create(s, name, by, self._clock()))

    async def collections(self, after: str | None, limit: int) -> Page[Collection]:
        return await self._engine.read(lambda s: collections.page(s, after, limit))

    async def collection(self, name: str) -> Collection:
        return await self._engine.read(lambda s: collections.find(s, name))

    async def delete_collection(self, name: str, by: str | None = None) -> Deletion:
        async def work() -> Deletion:
            gone = Deletion(0, 0)
            while gone.receipt is None:
                gone = await self._engine.write(
                    partial(
                        collections.delete_some, name=name, before=gone, by=by, now=self._clock()
                    ),
                    makes_room=True,
                )
            return gone

        return await self._engine.finish(work())

    async def lacking(
        self, change: Change, after: int, limit: int, collection: str | None = None
    ) -> list[MissingTemplate]:
        return await self._engine.read(
            lambda s: changing.lacking(s, change, after, limit, collection, self._clock())
        )

    async def lack(self, change: Change, collection: str | None = None) -> MissingCounts:
        return await self._engine.read(
            lambda s: changing.lack(s, change, collection, self._clock())
        )

    async def photo(self, subject: str, template_id: str) -> Photo | str:
        return await self._engine.read(lambda s: changing.photo(s, subject, template_id))

    async def add_vector(
        self,
        subject: str,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        by: str | None = None,
        quality: Mapping[str, float] | None = None,
    ) -> bool:
        return await self._engine.write(
            lambda s: changing.add_vector(
                s, subject, template_id, fingerprint, vector, quality, by, self._clock()
            )
        )

    async def fingerprints(self) -> dict[str, int]:
        return await self._engine.read(changing.fingerprints)

    async def switched_to(self) -> str | None:
        return await self._engine.read(changing.switched_to)

    async def switch_to(self, fingerprint: str, by: str | None = None) -> None:
        await self._engine.write(lambda s: changing.switch_to(s, fingerprint, by, self._clock()))

    async def forget(self, fingerprint: str, by: str | None = None) -> Deletion:
        return await self._engine.write(
            lambda s: changing.forget(s, fingerprint, by, self._clock()), makes_room=True
        )

    async def reseal(self, limit: int, by: str | None = None) -> ResealCounts:
        if self._engine.vault.current is None:
            raise NoMasterKey

        async def work() -> ResealCounts:
            done, damaged = await self._engine.write(lambda s: sealing.rewrap(s, limit))
            clear: list[str] = []
            if not done:
                clear = await self._engine.read(lambda s: sealing.clear_subjects(s, limit))
            # To index many subjects may take longer than a transaction may.
            for first in range(0, len(clear), self._engine.batch):
                some = clear[first : first + self._engine.batch]
                await self._engine.write(partial(sealing.seal_subjects, names=some))
            return await self._engine.write(
                lambda s: sealing.resealed(s, done, len(clear), damaged, by, self._clock())
            )

        return await self._engine.finish(work())

    async def add_key(self, key: ApiKey, by: str | None = None) -> None:
        await self._engine.write(lambda s: keys.add(s, key, by))

    async def key(self, key_id: str) -> ApiKey | None:
        return await self._engine.read(lambda s: keys.find(s, key_id))

    async def keys(self) -> list[ApiKey]:
        return await self._engine.read(keys.all_keys)

    async def revoke_key(self, key_id: str, by: str | None = None) -> bool:
        return await self._engine.write(
            lambda s: keys.revoke(s, key_id, by, self._clock()), makes_room=True
        )

    async def audit(self, after: int, limit: int) -> list[AuditEntry]:
        return await self._engine.read(lambda s: audit_log.read(s, after, limit))

    async def damage(self) -> tuple[Damage, ...]:
        return await self._damage.still_damaged(self.export)

    async def _record(self, new: Sequence[Damage]) -> None:
        await self._engine.write(lambda s: audit_log.append_damage(s, new, self._clock()))

    async def ping(self) -> None:
        await self._engine.ping()

    async def close(self) -> None:
        await self._damage.flush()
        await self._engine.close()
