"""Read from a SQLite database, as functions of a connection."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from service.errors import StoreError, SubjectNotFound
from service.store.particulars import Particulars
from service.store.records import (
    Counts,
    ExportedTemplate,
    GalleryTemplate,
    Page,
    Photo,
    StoredTemplate,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
)
from service.store.refusals import no_subject, no_such_template, no_template
from service.store.sqlite.index import Entry
from service.store.vault import Cipher, Owner, Vault, Wrapped, of_photo

FLOAT32 = np.dtype("<f4")

_HEAD = "created_at, collection, metadata, terms, key_id, master, wrapped"
_COLUMNS = "template_id, subject, fingerprint, image_sha256, quality, created_at, expires_at"


def templates_of(
    connection: sqlite3.Connection, vault: Vault, subject: str, now: datetime
) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    _, held = particulars_of(connection, vault, subject)
    rows = connection.execute(
        "SELECT template_id, vector, image_sha256, fingerprint, quality FROM templates "
        "WHERE subject = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY number",
        (subject, stamp(now)),
    ).fetchall()
    return SubjectTemplates(
        subject,
        held.owner.collection,
        tuple(
            GalleryTemplate(
                name,
                vector_of(held.cipher, blob, held.owner.vector(name, image, made_by)),
                made_by,
                json.loads(quality),
            )
            for name, blob, image, made_by, quality in rows
        ),
    )


def templates_of_each(
    connection: sqlite3.Connection, vault: Vault, subjects: Sequence[str], now: datetime
) -> list[SubjectTemplates]:
    """Return the same of several subjects, leaving out those that are not there."""
    found = []
    for subject in subjects:
        with suppress(SubjectNotFound):
            found.append(templates_of(connection, vault, subject, now))
    return found


def subjects(
    connection: sqlite3.Connection, vault: Vault, after: str | None, limit: int, collection: str
) -> Page[SubjectSummary]:
    """Return at most `limit` subjects of a collection after an id, in code point order."""
    rows = connection.execute(
        f"SELECT subject, {_HEAD}, "
        "(SELECT count(*) FROM templates WHERE templates.subject = subjects.subject), "
        "(SELECT json_group_array(DISTINCT fingerprint) FROM templates "
        "WHERE templates.subject = subjects.subject) "
        "FROM subjects LEFT JOIN data_keys USING (key_id) "
        "WHERE collection = ? AND (? IS NULL OR subject > ?) ORDER BY subject LIMIT ?",
        (collection, after, after, limit + 1),
    ).fetchall()
    items = tuple(
        _summary(at, Particulars.open(vault, Owner(subject, within), *held), templates, made_by)
        for subject, at, within, *held, templates, made_by in rows[:limit]
    )
    return Page(items, items[-1].subject if len(rows) > limit else None)


def subject_detail(connection: sqlite3.Connection, vault: Vault, subject: str) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    created_at, held = particulars_of(connection, vault, subject)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    stored = tuple(_stored(*row) for row in rows)
    return SubjectDetail(
        subject, created_at, held.metadata, held.terms, stored, held.owner.collection
    )


def subject_of(connection: sqlite3.Connection, template_id: str) -> str:
    """Return whose a template is. Raises TemplateNotFound."""
    rows = connection.execute(
        "SELECT subject FROM templates WHERE template_id = ? LIMIT 1", (template_id,)
    ).fetchall()
    if not rows:
        raise no_such_template()
    return str(rows[0][0])


def export(connection: sqlite3.Connection, vault: Vault, subject: str) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    created_at, held = particulars_of(connection, vault, subject)
    rows = connection.execute(
        f"SELECT vector, {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    templates = []
    for blob, *row in rows:
        stored = _stored(*row)
        about = held.owner.vector(stored.template_id, stored.image_sha256, stored.fingerprint)
        vector = vector_of(held.cipher, blob, about)
        templates.append(ExportedTemplate.of(stored, vector))
    photos = connection.execute(
        "SELECT image_sha256, photo FROM photos WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    return SubjectExport(
        subject,
        created_at,
        held.metadata,
        held.terms,
        tuple(templates),
        tuple(Photo(image, held.cipher.open(blob, of_photo(image))) for image, blob in photos),
    )


def count(connection: sqlite3.Connection, collection: str | None) -> Counts:
    """Count subjects and templates of a collection or of all, expired ones included."""
    ((subjects_, templates),) = connection.execute(
        "SELECT coalesce(sum(subjects), 0), coalesce(sum(templates), 0) FROM counts "
        "WHERE ? IS NULL OR collection = ?",
        (collection, collection),
    ).fetchall()
    return Counts(subjects_, templates)


def has_others(
    connection: sqlite3.Connection, fingerprint: str, collection: str, now: datetime
) -> bool:
    """Tell whether a collection has an unexpired template that another bundle made."""
    ((found,),) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM templates JOIN subjects USING (subject) "
        "WHERE fingerprint != ? AND collection = ? AND (expires_at IS NULL OR expires_at > ?))",
        (fingerprint, collection, stamp(now)),
    ).fetchall()
    return bool(found)


def entries(
    connection: sqlite3.Connection,
    vault: Vault,
    template_id: str | None = None,
    fingerprint: str | None = None,
) -> Iterator[Entry]:
    """Return templates as the index holds them, expired ones included.

    All of them, or those of one id, or the one that one bundle has of it.
    """
    chosen = {"template_id": template_id, "fingerprint": fingerprint}
    given = {name: value for name, value in chosen.items() if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    rows = connection.execute(
        "SELECT key_id, master, wrapped, template_id, subject, image_sha256, fingerprint, vector, "
        "expires_at, collection FROM templates JOIN subjects USING (subject) "
        f"LEFT JOIN data_keys USING (key_id) WHERE {where} ORDER BY number",
        given,
    )
    for *key, template_id, subject, image, fingerprint, blob, expires_at, collection in rows:
        about = Owner(subject, collection).vector(template_id, image, fingerprint)
        vector = vector_of(vault.cipher(Wrapped.read(*key)), blob, about)
        yield Entry(template_id, subject, fingerprint, vector, _moment(expires_at), collection)


def not_found(connection: sqlite3.Connection, subject: str) -> StoreError:
    """Return what a subject without the template that was named lacks: that, or all."""
    known = connection.execute("SELECT 1 FROM subjects WHERE subject = ?", (subject,)).fetchall()
    return no_template() if known else no_subject()


def stamp(at: datetime) -> str:
    """Return a time as UTC ISO-8601 of fixed width, which sorts as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def vector_of(cipher: Cipher, blob: bytes, about: str) -> NDArray[np.float32]:
    """Return the (d,) float32 vector of a blob that is sealed as `about`."""
    return np.frombuffer(cipher.open(blob, about), FLOAT32).astype(np.float32)


def particulars_of(
    connection: sqlite3.Connection, vault: Vault, subject: str
) -> tuple[datetime, Particulars]:
    """Return since when a subject is stored, and its particulars. Raises SubjectNotFound."""
    rows = connection.execute(
        f"SELECT {_HEAD} FROM subjects LEFT JOIN data_keys USING (key_id) WHERE subject = ?",
        (subject,),
    ).fetchall()
    if not rows:
        raise no_subject()
    created_at, collection, *held = rows[0]
    owner = Owner(subject, collection)
    return datetime.fromisoformat(created_at), Particulars.open(vault, owner, *held)


def _summary(created_at: str, held: Particulars, templates: int, made_by: str) -> SubjectSummary:
    return SubjectSummary(
        held.owner.subject,
        templates,
        datetime.fromisoformat(created_at),
        held.metadata,
        held.terms,
        tuple(sorted(json.loads(made_by))),
        held.owner.collection,
    )


def _stored(
    template_id: str,
    subject: str,
    fingerprint: str,
    image_sha256: str,
    quality: str,
    created_at: str,
    expires_at: str | None,
) -> StoredTemplate:
    return StoredTemplate(
        template_id,
        subject,
        fingerprint,
        image_sha256,
        json.loads(quality),
        datetime.fromisoformat(created_at),
        _moment(expires_at),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
