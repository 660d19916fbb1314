"""A session: one transaction, or one read, of either engine."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, ColumnElement, Dialect, SelectBase, UpdateBase, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from models.cohort import Cohort
from service.store.records import Candidate, Damage
from service.store.vault import Cipher, Owner, Vault

T = TypeVar("T")

Statement = SelectBase | UpdateBase

# The seeds of locks, so that a subject and a key of the same name have different locks.
SUBJECT_LOCK: Final = 0
REQUEST_LOCK: Final = 1
SPACES_LOCK: Final = 2
AUDIT_LOCK: Final = 3
UNBOUND_LOCK: Final = 4


class Session(Protocol):
    """Run statements in one transaction, and keep the search index equal to the templates.

    Parameters are given by name: text, numbers, bytes, times with a zone, or lists of text.
    """

    @property
    def vault(self) -> Vault: ...

    async def rows(self, statement: Statement, **parameters: object) -> Sequence[Any]:
        """Run a statement and return all of its rows."""
        ...

    async def run(self, statement: Statement, **parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    async def run_each(
        self, statement: Statement, parameters: Sequence[Mapping[str, object]]
    ) -> None:
        """Run a statement once for each of the parameters."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo the changes of the block if it raises."""
        ...

    async def lock(self, name: str, seed: int) -> None:
        """Wait until no other transaction holds this lock, and hold it until the commit."""
        ...

    def encode(self, vector: NDArray[np.float32]) -> bytes:
        """Return the stored form of a vector (d,)."""
        ...

    def vector_of(
        self, cipher: Cipher, blob: bytes, about: str, dimension: int | None = None
    ) -> NDArray[np.float32]:
        """Decrypt a blob with the associated data `about` to a (d,) float32 unit vector.

        Raises StoreDamaged, also for a wrong dimension.
        """
        ...

    async def add_to_index(
        self,
        owner: Owner,
        number: int,
        template_id: str,
        fingerprint: str,
        vector: NDArray[np.float32],
        expires_at: datetime | None,
    ) -> None:
        """Make a new template searchable at the commit; `vector` is (d,) float32."""
        ...

    async def seal_in_index(self, owner: Owner, number: int, fingerprint: str, blob: bytes) -> None:
        """Move a template whose vector was just encrypted; `blob` is the unencrypted vector."""
        ...

    async def refresh_index(self, template_ids: Sequence[str]) -> None:
        """Read templates again whose name or expiry has changed."""
        ...

    def remove_from_index(self, template_ids: Sequence[str], *, erases: bool = True) -> None:
        """Remove deleted templates at the commit; if it `erases`, see `erase`."""
        ...

    def forget_in_index(self, fingerprint: str) -> None:
        """Remove all templates of a bundle at the commit."""
        ...

    def erase(self, *, compacts: bool = False) -> None:
        """Answer only after deleted bytes are gone, if it `compacts` from the whole database."""
        ...

    async def collection_created(self, name: str) -> None:
        """Do what only this engine does for a new collection."""
        ...

    async def collection_deleted(self, name: str) -> None:
        """Drop what only this engine keeps for a collection."""
        ...

    async def check(self) -> None:
        """Check and repair what only this engine can have lost. Raises StoreUnavailable."""
        ...

    async def space_uses(self, key_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the uses of those keys that belong to the search index, by key id."""
        ...

    async def move_rows(
        self,
        subject: str,
        to: str,
        metadata: bytes,
        terms: bytes,
        vectors: Mapping[int, bytes] | None,
    ) -> None:
        """Give the rows of a subject another name, and new vectors by template number."""
        ...


Work = Callable[[Session], Coroutine[Any, Any, T]]


class Engine(Protocol):
    """Run sessions; every method raises StoreUnavailable.

    `batch` is the number of subjects that one transaction handles in work on many subjects.
    """

    @property
    def vault(self) -> Vault: ...

    @property
    def batch(self) -> int: ...

    async def read(self, query: Work[T]) -> T:
        """Run a query of one statement; it sees all data committed before it began."""
        ...

    async def write(
        self,
        work: Work[T],
        *,
        makes_room: bool = False,
        searched_in: Sequence[tuple[str, str, int]] = (),
    ) -> T:
        """Run a transaction, durable when this returns; work that raises changes nothing.

        The work may run again if another transaction was in its way. Work that `makes_room` may
        use the disk space that is reserved for deletions. `searched_in` names the collections,
        fingerprints and dimensions of templates that the work adds.
        """
        ...

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work of several reads and writes to its end, even if the caller is cancelled."""
        ...

    async def load(self) -> list[Damage]:
        """Prepare the search, when the store has prepared the database; return the damage met."""
        ...

    async def compare_by(self, fingerprint: str, cohort: Cohort) -> None:
        """Search the templates of a bundle by the scores of a cohort from now on."""
        ...

    async def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        collection: str,
        exclude: str | None,
        clock: Callable[[], datetime],
    ) -> tuple[list[Candidate], list[Damage]]:
        """Return the most similar subjects, best first, and the damage met."""
        ...

    async def ping(self) -> None:
        """Check that the database can be written to now."""
        ...

    async def close(self) -> None:
        """Finish all requests and close the database; may be called again."""
        ...


class InList(ColumnElement[bool]):
    """Tell whether a column is in a list of text that one parameter holds."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values: BindParameter[Any] = bindparam(name)


@compiles(InList, "sqlite")
def _in_json(element: InList, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    values = compiler.process(element.values)
    # SQLite's JSON ends a text at NUL, so that character is written as %00 (see SqliteSession).
    decoded = "replace(replace(value, '%00', char(0)), '%25', '%')"
    return f"{column} IN (SELECT {decoded} FROM json_each({values}))"


@compiles(InList, "postgresql")
def _in_array(element: InList, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"{column} = ANY({compiler.process(element.values)}::text[])"


class Statements:
    """Compile statements for a dialect, each once.

    Statements must be module constants: each one that was compiled is kept.
    """

    def __init__(self, dialect: Dialect, schema: str | None = None) -> None:
        self._dialect = dialect
        self._schema = schema
        self._texts: dict[Statement, tuple[str, dict[str, Any]]] = {}

    def of(self, statement: Statement) -> tuple[str, dict[str, Any]]:
        """Return the text of a statement, and the values of its constants."""
        known = self._texts.get(statement)
        if known is None:
            compiled = statement.compile(
                dialect=self._dialect,
                schema_translate_map={None: self._schema} if self._schema else None,
                render_schema_translate=bool(self._schema),
            )
            constants = {
                name: value for name, value in compiled.params.items() if value is not None
            }
            known = self._texts[statement] = str(compiled), constants
        return known


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without an event loop, and return its result."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("The work of a session waited for something else than its session.")
