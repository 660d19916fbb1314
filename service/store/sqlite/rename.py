"""Give a subject of a SQLite database another name."""

import sqlite3
from datetime import datetime
from itertools import chain
from typing import Any

from service.store.audit import AuditEntry, Event
from service.store.refusals import name_taken, no_subject
from service.store.sqlite.audit_log import append
from service.store.sqlite.queries import entries
from service.store.sqlite.writer import Done
from service.store.vault import Vault

_TEMPLATE = "template_id, fingerprint, image_sha256, quality, created_at, expires_at, vector"
_PHOTO = "image_sha256, photo"


def rename(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    to: str,
    by: str | None,
    now: datetime,
) -> Done[AuditEntry]:
    """Rename a subject; its key, and what it seals, stay. Raises SubjectNotFound, SubjectExists.

    Rows are written anew, at the end: one that grows may be copied to another page, and what
    stays where it was is not erased with it.
    """
    if connection.execute("SELECT 1 FROM subjects WHERE subject = ?", (to,)).fetchall():
        raise name_taken()
    # Photos first: they go with their last template.
    photos = _taken(connection, "photos", _PHOTO, subject)
    templates = _taken(connection, "templates", _TEMPLATE, subject)
    renamed = connection.execute(
        "UPDATE subjects SET subject = ? WHERE subject = ?", (to, subject)
    ).rowcount
    if not renamed:
        raise no_subject()
    _put(connection, "templates", _TEMPLATE, to, templates)
    _put(connection, "photos", _PHOTO, to, photos)
    append(connection, Event("renamed_from", subject, by), now)
    receipt = append(connection, Event("renamed_to", to, by), now)
    # What every bundle made of a photo shares its id.
    ids = list(dict.fromkeys(template_id for template_id, *_ in templates))
    added = list(chain(*(entries(connection, vault, template_id) for template_id in ids)))
    return Done(receipt, ids, added)


def _taken(
    connection: sqlite3.Connection, table: str, columns: str, subject: str
) -> list[tuple[Any, ...]]:
    """Delete the rows of a subject, and return them in their order."""
    whose = (subject,)
    rows = connection.execute(
        f"SELECT {columns} FROM {table} WHERE subject = ? ORDER BY number", whose
    ).fetchall()
    connection.execute(f"DELETE FROM {table} WHERE subject = ?", whose)
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
