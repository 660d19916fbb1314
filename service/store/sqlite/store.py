"""The store in one SQLite file, for one process."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort
from service.errors import NoMasterKey, StoreUnavailable
from service.store.audit import AuditEntry
from service.store.cohorts import logged_placing
from service.store.damage import DamageLog
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
from service.store.sqlite import (
    api_keys,
    audit_log,
    collections,
    names,
    queries,
    sealing,
    statements,
)
from service.store.sqlite import change as changing
from service.store.sqlite.connections import Readers, connect
from service.store.sqlite.file import DatabaseFile
from service.store.sqlite.index import VectorIndex
from service.store.sqlite.log import Log
from service.store.sqlite.migrations import migrate
from service.store.sqlite.rename import rename
from service.store.sqlite.writer import WAY_OUT, Work, Writer, WriteResult, is_damaged, roll_back
from service.store.vault import Vault

logger = logging.getLogger("likeness")

T = TypeVar("T")

MEMORY = ":memory:"

_READERS = 2


class SqliteStore:
    """Implement the protocol `Store` on a file, or in memory for the life of the object.

    One thread writes. A few threads read, each query on its own connection. The constructor
    blocks; it raises StoreInUse and StoreUnavailable.
    """

    def __init__(self, name: str, clock: Clock, vault: Vault, busy_timeout_s: float = 5.0) -> None:
        self._clock = clock
        self._vault = vault
        self._busy_timeout_s = busy_timeout_s
        self._index = VectorIndex()
        self._readers = Readers()
        self._closing: asyncio.Future[None] | None = None
        self._damage = DamageLog(self._record)
        # A database in memory belongs to one connection: the writer also reads from it.
        self._is_memory = name == MEMORY
        with ExitStack() as stack:
            try:
                self._writer = self._open(name, stack)
            except sqlite3.Error as exc:
                problem = f"The database {name} cannot be opened: {exc}."
                raise StoreUnavailable(
                    f"{problem} {WAY_OUT}" if is_damaged(exc) else problem
                ) from exc
            self._threads = ThreadPoolExecutor(_READERS, "likeness-store-reader")
            stack.callback(self._threads.shutdown)
            self._parts = stack.pop_all()

    def _open(self, name: str, stack: ExitStack) -> Writer:
        file = None
        if not self._is_memory:
            file = DatabaseFile(Path(name))
            stack.callback(file.release)
            name = str(file.path)
        connection = connect(name, self._busy_timeout_s)
        stack.callback(connection.close)
        log = Log(connection, file)
        stack.callback(log.close)
        migrate(connection)
        try:
            statements.forget_requests(connection, self._clock())
            sealing.make_ready(connection, self._vault, self._clock())
            names.settle(connection, self._vault, self._clock())
        except sqlite3.DatabaseError as exc:
            roll_back(connection)
            if not is_damaged(exc):
                raise
            logger.error("%s (%s)", WAY_OUT, exc)
        damaged: list[Damage] = []
        self._index.apply((), queries.entries(connection, self._vault, damaged=damaged))
        if new := self._damage.log_new(damaged):
            audit_log.append_damage(connection, new, self._clock())
        for _ in range(0 if self._is_memory else _READERS):
            reader = connect(name, self._busy_timeout_s)
            stack.callback(reader.close)
            self._readers.add(reader)
        log.erase()
        writer = Writer(connection, self._index, file, log)
        stack.callback(writer.close)
        return writer

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
        return await self._write(
            lambda c: statements.enroll(
                c,
                self._vault,
                subject,
                templates,
                metadata,
                terms,
                idempotency,
                by,
                collection,
                self._clock(),
            )
        )

    async def templates_of(self, subject: str) -> SubjectTemplates:
        found = await self._read(
            lambda c: queries.templates_of(
                c, self._vault, subject, self._clock(), self._damage.dimensions
            )
        )
        return self._damage.reported(found)

    async def compare_by(self, fingerprint: str, cohort: Cohort, dimension: int = 0) -> None:
        if dimension:
            self._damage.dimensions[fingerprint] = dimension

        def place() -> None:
            with logged_placing(self._index.count(fingerprint)):
                self._index.compare_by(fingerprint, cohort)

        await self._in_thread(place)

    async def templates_of_each(self, subjects: Sequence[str]) -> list[SubjectTemplates]:
        found = await self._read(
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
        most = limit if exclude is None else limit + 1
        found = await self._in_thread(
            lambda: self._index.search(vector, fingerprint, most, self._clock(), collection)
        )
        return [candidate for candidate in found if candidate.subject != exclude][:limit]

    async def subjects(
        self, after: str | None, limit: int, collection: str = ""
    ) -> Page[SubjectSummary]:
        page = await self._read(
            lambda c: queries.subjects(c, self._vault, after, limit, collection)
        )
        self._damage.report(chain(*(each.damaged for each in page.items)))
        return page

    async def subject(self, subject: str) -> SubjectDetail:
        return self._damage.reported(
            await self._read(
                lambda c: queries.subject_detail(c, self._vault, subject, self._damage.dimensions)
            )
        )

    async def subject_of(self, template_id: str) -> str:
        return await self._read(partial(queries.subject_of, template_id=template_id))

    async def export(self, subject: str) -> SubjectExport:
        return self._damage.reported(
            await self._read(
                lambda c: queries.export(c, self._vault, subject, self._damage.dimensions)
            )
        )

    async def odd_names(self, after: str | None, limit: int) -> Page[OddName]:
        return await self._read(partial(names.odd_names, after=after, limit=limit))

    async def rename_subject(self, subject: str, to: str, by: str | None = None) -> AuditEntry:
        return await self._write(lambda c: rename(c, self._vault, subject, to, by, self._clock()))

    async def delete_subject(self, subject: str, by: str | None = None) -> Deletion:
        return await self._write(
            lambda c: statements.delete_subject(c, subject, by, self._clock()), makes_room=True
        )

    async def delete_template(
        self, subject: str, template_id: str, by: str | None = None
    ) -> Deletion:
        return await self._write(
            lambda c: statements.delete_template(c, subject, template_id, by, self._clock()),
            makes_room=True,
        )

    async def sweep(self, limit: int) -> Deletion:
        return await self._write(
            lambda c: statements.sweep(c, limit, self._clock()), makes_room=True
        )

    async def count(self, collection: str | None = None) -> Counts:
        return await self._read(partial(queries.count, collection=collection))

    async def has_others(self, fingerprint: str, collection: str = "") -> bool:
        return await self._read(
            lambda c: queries.has_others(c, fingerprint, collection, self._clock())
        )

    async def create_collection(self, name: str, by: str | None = None) -> Collection:
        return await self._write(lambda c: collections.create(c, name, by, self._clock()))

    async def collections(self, after: str | None, limit: int) -> Page[Collection]:
        return await self._read(partial(collections.every, after=after, limit=limit))

    async def collection(self, name: str) -> Collection:
        return await self._read(partial(collections.find, name=name))

    async def delete_collection(self, name: str, by: str | None = None) -> Deletion:
        gone = Deletion(0, 0)
        while gone.receipt is None:
            gone = await self._write(
                partial(collections.delete, name=name, before=gone, by=by, now=self._clock()),
                makes_room=True,
            )
        return gone

    async def lacking(
        self, change: Change, after: int, limit: int, collection: str | None = None
    ) -> list[MissingTemplate]:
        return await self._read(
            lambda c: changing.lacking(c, change, after, limit, collection, self._clock())
        )

    async def lack(self, change: Change, collection: str | None = None) -> MissingCounts:
        return await self._read(lambda c: changing.lack(c, change, collection, self._clock()))

    async def photo(self, subject: str, template_id: str) -> Photo | str:
        return await self._read(lambda c: changing.photo(c, self._vault, subject, template_id))

    async def add_vector(
        self,
        subject: str,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        by: str | None = None,
        quality: Mapping[str, float] | None = None,
    ) -> bool:
        return await self._write(
            lambda c: changing.add_vector(
                c,
                self._vault,
                subject,
                template_id,
                fingerprint,
                vector,
                quality,
                by,
                self._clock(),
            )
        )

    async def fingerprints(self) -> dict[str, int]:
        return await self._read(changing.fingerprints)

    async def switched_to(self) -> str | None:
        return await self._read(changing.switched_to)

    async def switch_to(self, fingerprint: str, by: str | None = None) -> None:
        await self._write(
            partial(changing.switch_to, fingerprint=fingerprint, by=by, now=self._clock())
        )

    async def forget(self, fingerprint: str, by: str | None = None) -> Deletion:
        return await self._write(
            partial(changing.forget, fingerprint=fingerprint, by=by, now=self._clock()),
            makes_room=True,
        )

    async def reseal(self, limit: int, by: str | None = None) -> ResealCounts:
        if self._vault.current is None:
            raise NoMasterKey
        return await self._write(lambda c: sealing.reseal(c, self._vault, limit, by, self._clock()))

    async def add_key(self, key: ApiKey, by: str | None = None) -> None:
        await self._write(partial(api_keys.add, key=key, by=by))

    async def key(self, key_id: str) -> ApiKey | None:
        return await self._read(partial(api_keys.find, key_id=key_id))

    async def keys(self) -> list[ApiKey]:
        return await self._read(api_keys.every)

    async def revoke_key(self, key_id: str, by: str | None = None) -> bool:
        return await self._write(
            partial(api_keys.revoke, key_id=key_id, by=by, now=self._clock()), makes_room=True
        )

    async def audit(self, after: int, limit: int) -> list[AuditEntry]:
        return await self._read(partial(audit_log.read, after=after, limit=limit))

    async def damage(self) -> tuple[Damage, ...]:
        return await self._damage.still_damaged(self.export)

    async def _record(self, new: Sequence[Damage]) -> None:
        def record(connection: sqlite3.Connection) -> WriteResult[None]:
            audit_log.append_damage(connection, new, self._clock())
            return WriteResult(None)

        await self._write(record)

    async def ping(self) -> None:
        await self._write(statements.touch)

    async def close(self) -> None:
        if self._closing is None:
            await self._damage.flush()
            self._closing = asyncio.ensure_future(asyncio.to_thread(self._parts.close))
        # Shielded, so that a cancelled caller does not leave the database half closed.
        await asyncio.shield(self._closing)

    async def _write(self, work: Work[T], *, makes_room: bool = False) -> T:
        self._refuse_if_closed()
        return await asyncio.wrap_future(self._writer.submit(work, makes_room=makes_room))

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_memory:
            return await self._write(lambda c: WriteResult(query(c)))
        return await self._in_thread(partial(self._readers.ask, query))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _refuse_if_closed(self) -> None:
        if self._closing is not None:
            raise StoreUnavailable("The store is closed.")
