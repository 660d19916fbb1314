"""The renaming of a subject in a SQLite database."""

import sqlite3
from datetime import datetime
from itertools import chain
from typing import Any

from service.errors import SubjectExists
from service.store.audit import AuditEntry, Event
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import entries, subject_row_of
from service.store.sqlite.writer import WriteResult
from service.store.subject_row import SubjectRow, seal_metadata, seal_terms
from service.store.unbound import reseal_value
from service.store.vault import Owner, Vault

_TEMPLATE = "template_id, image_sha256, fingerprint, vector, quality, created_at, expires_at"
_PHOTO = "image_sha256, photo"


def rename(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    to: str,
    by: str | None,
    now: datetime,
) -> WriteResult[AuditEntry]:
    """Rename a subject: its key stays, and values that are bound to the name are encrypted again.

    Rows are deleted and inserted again at the end, because SQLite may copy a growing row to
    another page, and the copy in the old page would escape a later deletion. Raises
    SubjectNotFound, SubjectExists.
    """
    if connection.execute("SELECT 1 FROM subjects WHERE subject = ?", (to,)).fetchall():
        raise SubjectExists
    _, held = subject_row_of(connection, vault, subject)
    held.check_whole()
    owner = Owner(to, held.owner.collection)
    # Photos first: a trigger deletes them with their last template.
    photos = _take_rows(connection, "photos", _PHOTO, subject)
    templates = _take_rows(connection, "templates", _TEMPLATE, subject)
    connection.execute(
        "UPDATE subjects SET subject = ?, odd_name = 0, metadata = ?, terms = ? WHERE subject = ?",
        (
            to,
            seal_metadata(held.cipher, owner, held.metadata),
            seal_terms(held.cipher, owner, held.terms),
            subject,
        ),
    )
    _put(connection, "templates", _TEMPLATE, to, [_bound(held, owner, *row) for row in templates])
    _put(connection, "photos", _PHOTO, to, photos)
    append(connection, Event("renamed_from", subject, by), now)
    receipt = append(connection, Event("renamed_to", to, by), now)
    # All bundles' templates of a photo share one id.
    ids = list(dict.fromkeys(template_id for template_id, *_ in templates))
    added = list(chain(*(entries(connection, vault, template_id) for template_id in ids)))
    return WriteResult(receipt, ids, added, erases=True)


def _bound(
    held: SubjectRow,
    owner: Owner,
    template_id: str,
    image_sha256: str,
    fingerprint: str,
    vector: bytes,
    *rest: Any,
) -> tuple[Any, ...]:
    of_template = template_id, image_sha256, fingerprint
    before, after = held.owner.vector(*of_template), owner.vector(*of_template)
    return (*of_template, reseal_value(held.cipher, vector, before, after), *rest)


def _take_rows(
    connection: sqlite3.Connection, table: str, columns: str, subject: str
) -> list[tuple[Any, ...]]:
    """Delete the rows of a subject, and return them in their order."""
    parameters = (subject,)
    rows = connection.execute(
        f"SELECT {columns} FROM {table} WHERE subject = ? ORDER BY number", parameters
    ).fetchall()
    connection.execute(f"DELETE FROM {table} WHERE subject = ?", parameters)
    return rows


def _put(
    connection: sqlite3.Connection,
    table: str,
    columns: str,
    subject: str,
    rows: list[tuple[Any, ...]],
) -> None:
    marks = ", ".join("?" for _ in columns.split(","))
    connection.executemany(
        f"INSERT INTO {table} (subject, {columns}) VALUES (?, {marks})",
        [(subject, *row) for row in rows],
    )
