"""The store in PostgreSQL, for any number of replicas."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort
from models.errors import LikenessError
from service.errors import NoMasterKey, StoreUnavailable
from service.store.audit import AuditEntry
from service.store.damage import DamageLog
from service.store.postgres import (
    api_keys,
    audit_log,
    collections,
    names,
    placing,
    queries,
    sealing,
    statements,
)
from service.store.postgres import change as changing
from service.store.postgres import search as searching
from service.store.postgres.binding import bind
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from service.store.postgres.rename import rename
from service.store.postgres.spaces import Spaces
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
from service.store.vault import Vault


class PostgresStore:
    """Implement the protocol `Store`; no data is cached that another replica could change."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._spaces = Spaces(database, vault)
        self._clock = clock
        self._damage = DamageLog(self._record)

    @classmethod
    async def open(cls, url: str, clock: Clock, vault: Vault) -> "PostgresStore":
        """Connect and migrate. Raises InvalidSettings, StoreUnavailable."""
        database = await Database.open(url)
        try:
            await database.write(lambda c: sealing.make_ready(c, vault, clock()))
            while await database.write(lambda c: bind(c, vault)):
                pass
            await names.settle(database, vault, clock)
        except LikenessError:
            await database.close()
            raise
        return cls(database, clock, vault)

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
        async def place_and_write() -> EnrolmentResult:
            placed = [
                (each, await self._spaces.of(collection, each.fingerprint, len(each.vector)))
                for each in templates
            ]
            return await self._database.write(
                lambda connection: statements.enroll(
                    connection,
                    self._spaces,
                    subject,
                    placed,
                    metadata,
                    terms,
                    idempotency,
                    by,
                    collection,
                    self._clock(),
                )
            )

        return await self._database.finish(self._spaces.using(place_and_write))

    async def templates_of(self, subject: str) -> SubjectTemplates:
        found = await self._database.read(
            lambda c: queries.templates_of(
                c, self._vault, subject, self._clock(), self._damage.dimensions
            )
        )
        return self._damage.reported(found)

    async def compare_by(self, fingerprint: str, cohort: Cohort, dimension: int = 0) -> None:
        if dimension:
            self._damage.dimensions[fingerprint] = dimension

        async def place() -> None:
            self._spaces.cohorts.put(fingerprint, cohort)
            placed_by = await self._database.read(lambda c: placing.placed_by(c, fingerprint))
            if placed_by != cohort.digest:
                await self._database.write(
                    lambda c: placing.place(c, self._spaces, fingerprint, cohort), patience_s=None
                )
                self._spaces.forget()

        await self._database.finish(place())

    async def templates_of_each(self, subjects: Sequence[str]) -> list[SubjectTemplates]:
        found = await self._database.read(
            lambda c: queries.templates_of_each(
                c, self._vault, subjects, self._clock(), self._damage.dimensions
            )
        )
        return [self._damage.reported(each) for each in found]

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str = "",
        exclude: str | None = None,
    ) -> list[Candidate]:
        async def find_and_look() -> list[Candidate]:
            spaces = await self._spaces.to_search(collection, fingerprint, len(vector))
            cohort = self._spaces.cohorts.of(fingerprint, len(vector))
            damaged: list[Damage] = []
            found = await searching.search(
                self._database,
                spaces,
                self._vault,
                cohort,
                vector,
                limit,
                self._clock,
                exclude,
                damaged,
            )
            self._damage.report(damaged)
            return found

        return await self._spaces.using(find_and_look)

    async def subjects(
        self, after: str | None, limit: int, collection: str = ""
    ) -> Page[SubjectSummary]:
        page = await self._database.read(
            lambda c: queries.subjects(c, self._vault, after, limit, collection)
        )
        self._damage.report(chain(*(each.damaged for each in page.items)))
        return page

    async def subject(self, subject: str) -> SubjectDetail:
        return self._damage.reported(
            await self._database.read(
                lambda c: queries.subject_detail(c, self._vault, subject, self._damage.dimensions)
            )
        )

    async def subject_of(self, template_id: str) -> str:
        return await self._database.read(lambda c: queries.subject_of(c, template_id))

    async def export(self, subject: str) -> SubjectExport:
        return self._damage.reported(
            await self._database.read(
                lambda c: queries.export(c, self._vault, subject, self._damage.dimensions)
            )
        )

    async def odd_names(self, after: str | None, limit: int) -> Page[OddName]:
        return await self._database.read(lambda c: names.odd_names(c, after, limit))

    async def rename_subject(self, subject: str, to: str, by: str | None = None) -> AuditEntry:
        return await self._database.write(
            lambda c: rename(c, self._vault, subject, to, by, self._clock())
        )

    async def delete_subject(self, subject: str, by: str | None = None) -> Deletion:
        return await self._database.write(
            lambda c: statements.delete_subject(c, subject, by, self._clock())
        )

    async def delete_template(
        self, subject: str, template_id: str, by: str | None = None
    ) -> Deletion:
        return await self._database.write(
            lambda c: statements.delete_template(c, subject, template_id, by, self._clock())
        )

    async def sweep(self, limit: int) -> Deletion:
        return await self._database.write(lambda c: statements.sweep(c, limit, self._clock()))

    async def count(self, collection: str | None = None) -> Counts:
        return await self._database.read(lambda c: queries.count(c, collection))

    async def has_others(self, fingerprint: str, collection: str = "") -> bool:
        return await self._database.read(
            lambda c: queries.has_others(c, fingerprint, collection, self._clock())
        )

    async def create_collection(self, name: str, by: str | None = None) -> Collection:
        return await self._database.write(lambda c: collections.create(c, name, by, self._clock()))

    async def collections(self, after: str | None, limit: int) -> Page[Collection]:
        return await self._database.read(lambda c: collections.every(c, after, limit))

    async def collection(self, name: str) -> Collection:
        return await self._database.read(lambda c: collections.find(c, name))

    async def delete_collection(self, name: str, by: str | None = None) -> Deletion:
        async def work() -> Deletion:
            gone = Deletion(0, 0)
            while gone.receipt is None:
                gone = await self._database.write(
                    partial(collections.delete, name=name, before=gone, by=by, now=self._clock())
                )
            return gone

        return await self._database.finish(work())

    async def lacking(
        self, change: Change, after: int, limit: int, collection: str | None = None
    ) -> list[MissingTemplate]:
        return await self._database.read(
            lambda c: changing.lacking(c, change, after, limit, collection, self._clock())
        )

    async def lack(self, change: Change, collection: str | None = None) -> MissingCounts:
        return await self._database.read(
            lambda c: changing.lack(c, change, collection, self._clock())
        )

    async def photo(self, subject: str, template_id: str) -> Photo | str:
        return await self._database.read(
            lambda c: changing.photo(c, self._vault, subject, template_id)
        )

    async def add_vector(
        self,
        subject: str,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        by: str | None = None,
        quality: Mapping[str, float] | None = None,
    ) -> bool:
        async def write() -> bool:
            return await self._database.write(
                lambda c: changing.add_vector(
                    c,
                    self._spaces,
                    subject,
                    template_id,
                    fingerprint,
                    vector,
                    quality,
                    by,
                    self._clock(),
                )
            )

        return await self._database.finish(self._spaces.using(write))

    async def fingerprints(self) -> dict[str, int]:
        return await self._database.read(changing.fingerprints)

    async def switched_to(self) -> str | None:
        return await self._database.read(changing.switched_to)

    async def switch_to(self, fingerprint: str, by: str | None = None) -> None:
        await self._database.write(lambda c: changing.switch_to(c, fingerprint, by, self._clock()))

    async def forget(self, fingerprint: str, by: str | None = None) -> Deletion:
        return await self._database.write(
            lambda c: changing.forget(c, fingerprint, by, self._clock())
        )

    async def reseal(self, limit: int, by: str | None = None) -> ResealCounts:
        if self._vault.current is None:
            raise NoMasterKey

        damaged = 0

        async def rewrap(connection: Connection) -> ResealCounts:
            nonlocal damaged
            keys, damaged = await sealing.rewrap(connection, self._vault, limit)
            now = self._clock()
            return await sealing.resealed(connection, self._vault, keys, 0, damaged, by, now)

        async def seal(connection: Connection, subject: str) -> None:
            await statements.lock_subject(connection, subject)
            await sealing.sealed_subject_row(connection, self._spaces, subject)

        async def work() -> ResealCounts:
            done = await self._database.write(rewrap)
            if done.rewrapped:
                return done
            names = await self._database.read(lambda c: sealing.clear_subjects(c, limit))
            # One transaction each: to index them all takes longer than a transaction may.
            for subject in names:
                await self._spaces.using(
                    partial(self._database.write, partial(seal, subject=subject))
                )
            return await self._database.write(
                lambda c: sealing.resealed(
                    c, self._vault, 0, len(names), damaged, by, self._clock()
                )
            )

        return await self._database.finish(work())

    async def add_key(self, key: ApiKey, by: str | None = None) -> None:
        await self._database.write(lambda c: api_keys.add(c, key, by))

    async def key(self, key_id: str) -> ApiKey | None:
        return await self._database.read(lambda c: api_keys.find(c, key_id))

    async def keys(self) -> list[ApiKey]:
        return await self._database.read(api_keys.every)

    async def revoke_key(self, key_id: str, by: str | None = None) -> bool:
        return await self._database.write(lambda c: api_keys.revoke(c, key_id, by, self._clock()))

    async def audit(self, after: int, limit: int) -> list[AuditEntry]:
        return await self._database.read(lambda c: audit_log.read(c, after, limit))

    async def damage(self) -> tuple[Damage, ...]:
        return await self._damage.still_damaged(self.export)

    async def _record(self, new: Sequence[Damage]) -> None:
        await self._database.write(lambda c: audit_log.append_damage(c, new, self._clock()))

    async def ping(self) -> None:
        await self._database.read(_check_writable)

    async def close(self) -> None:
        await self._damage.flush()
        await self._database.close()


async def _check_writable(connection: Connection) -> None:
    found = await connection.execute("SHOW transaction_read_only")
    if await found.fetchone() != ("off",):
        raise StoreUnavailable("The database accepts no writes: it is a standby or read-only.")
