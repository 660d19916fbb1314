"""The store of templates: one protocol and two engines, SQLite and PostgreSQL.

What a method of the store has written is durable when the method returns.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from service.errors import InvalidSettings
from service.store.audit import AuditEntry
from service.store.protocol import Store
from service.store.records import (
    ApiKey,
    Candidate,
    Change,
    Clock,
    Collection,
    Counts,
    Damage,
    Deletion,
    EnrolledTemplate,
    EnrolmentResult,
    ExportedTemplate,
    GalleryTemplate,
    Idempotency,
    MissingCounts,
    MissingTemplate,
    NewTemplate,
    OddName,
    Page,
    Photo,
    ResealCounts,
    StoredTemplate,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
    Terms,
    check_ahead,
)
from service.store.sql.store import SqlStore
from service.store.sqlite.engine import MEMORY, SqliteEngine
from service.store.vault import Vault

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Candidate",
    "Change",
    "Clock",
    "Collection",
    "Counts",
    "Damage",
    "Deletion",
    "EnrolledTemplate",
    "EnrolmentResult",
    "ExportedTemplate",
    "GalleryTemplate",
    "Idempotency",
    "MissingCounts",
    "MissingTemplate",
    "NewTemplate",
    "OddName",
    "Page",
    "Photo",
    "ResealCounts",
    "Store",
    "StoredTemplate",
    "SubjectDetail",
    "SubjectExport",
    "SubjectSummary",
    "SubjectTemplates",
    "Terms",
    "Vault",
    "check_ahead",
    "open_store",
    "utc_now",
]

_SQLITE = "sqlite:///"
_SUPPORTED = (
    "`postgresql://user:password@host/database`, `sqlite:///relative.db`, "
    "`sqlite:////absolute.db` or `sqlite:///:memory:`"
)


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


def is_memory(url: str) -> bool:
    """Tell whether a URL names a store in memory, which ends with the process."""
    return url == f"{_SQLITE}{MEMORY}"


def place_of(url: str) -> str:
    """Describe the place of a store: an absolute path, or a database, its host and port.

    It holds neither user nor password.
    """
    if url.startswith(_SQLITE):
        return url if is_memory(url) else str(Path(url.removeprefix(_SQLITE)).absolute())
    from service.store.postgres.database import described

    return described(url)


async def open_store(url: str, clock: Clock = utc_now, vault: Vault | None = None) -> Store:
    """Open the store that a database URL names, and migrate it to the current schema.

    Without a vault nothing is encrypted. Raises InvalidSettings for an unsupported URL and for a
    missing master key, StoreInUse if another process holds the database, StoreUnavailable if the
    database cannot be opened.
    """
    vault = vault or Vault()
    # No error repeats the URL, which may hold a password.
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme in ("postgresql", "postgres"):
        # Imported only here: the driver takes a third of a second.
        from service.store.postgres.database import Database
        from service.store.postgres.engine import PostgresEngine

        return await SqlStore.open(PostgresEngine(await Database.open(url), vault), clock)
    if scheme != "sqlite":
        raise InvalidSettings(
            f"LIKENESS_STORE must be a URL of the form {_SUPPORTED}; "
            + (f"`{scheme}` is not supported." if scheme else "this is not a URL.")
        )
    name = url.removeprefix(_SQLITE)
    if name in (url, "") or name.endswith("/"):
        raise InvalidSettings(
            f"The SQLite URL in LIKENESS_STORE names no file. The forms are {_SUPPORTED}."
        )
    return await SqlStore.open(await asyncio.to_thread(SqliteEngine, name, vault), clock)
