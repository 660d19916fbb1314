"""Keep templates: one protocol, durable when it answers, and two engines."""

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
from service.store.sqlite.store import MEMORY, SqliteStore
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
    "`sqlite:////absolute.db` and `sqlite:///:memory:`"
)


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def is_memory(url: str) -> bool:
    """Tell whether a URL names a store that ends with the process."""
    return url == f"{_SQLITE}{MEMORY}"


def place_of(url: str) -> str:
    """Say where the store of a URL is: an absolute path, or a database, its host and port.

    Neither user nor password is in it.
    """
    if url.startswith(_SQLITE):
        return url if is_memory(url) else str(Path(url.removeprefix(_SQLITE)).absolute())
    from service.store.postgres.database import named

    return named(url)


async def open_store(url: str, clock: Clock = utc_now, vault: Vault | None = None) -> Store:
    """Open the store that a database URL names, made ready to use.

    Without a vault nothing is sealed. Raises InvalidSettings for a URL that is not supported
    and for a master key that is missing, StoreInUse if another process holds the database,
    StoreUnavailable if it cannot be opened.
    """
    vault = vault or Vault()
    # The URL itself is not repeated: it may carry a password.
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme in ("postgresql", "postgres"):
        # Its driver takes a third of a second to import, and most have no use for it.
        from service.store.postgres.store import PostgresStore

        return await PostgresStore.open(url, clock, vault)
    if scheme != "sqlite":
        raise InvalidSettings(
            f"A store is named by a URL such as {_SUPPORTED}; "
            + (f"`{scheme}` is not supported." if scheme else "this is no URL.")
        )
    name = url.removeprefix(_SQLITE)
    if name in (url, "") or name.endswith("/"):
        raise InvalidSettings(
            f"The SQLite URL names no file; it has three or four /: {_SUPPORTED}."
        )
    return await asyncio.to_thread(SqliteStore, name, clock, vault)
