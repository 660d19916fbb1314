"""The queries of a SQLite database, as functions of a connection."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cohort import are_unit
from service.errors import StoreDamaged, StoreError, SubjectNotFound, TemplateNotFound
from service.store.damage import (
    LONG_AGO,
    NO_VECTOR,
    SubjectReader,
    checked,
    moment_of,
    photo_of,
    quality_of,
    template_of,
)
from service.store.records import (
    Counts,
    Damage,
    ExportedTemplate,
    Page,
    StoredTemplate,
    SubjectDetail,
    SubjectExport,
    SubjectSummary,
    SubjectTemplates,
)
from service.store.sqlite.index import Entry
from service.store.sqlite.writer import is_damaged
from service.store.subject_row import SubjectRow
from service.store.vault import Cipher, Owner, Vault, WrappedKey

FLOAT32 = np.dtype("<f4")

_HEAD = "created_at, collection, metadata, terms, key_id, master, wrapped"
# Rows read at a time: enough for numpy to be fast, and little memory.
_AT_ONCE = 4096
_ENTRIES = """SELECT number, key_id, master, wrapped, template_id, subject, image_sha256,
    fingerprint, vector, expires_at, collection
    FROM templates JOIN subjects USING (subject) LEFT JOIN data_keys USING (key_id)"""
_COLUMNS = "template_id, subject, fingerprint, image_sha256, quality, created_at, expires_at"


def templates_of(
    connection: sqlite3.Connection,
    vault: Vault,
    subject: str,
    now: datetime,
    dimensions: Mapping[str, int],
) -> SubjectTemplates:
    """Return the unexpired templates of a subject. Raises SubjectNotFound."""
    _, held = subject_row_of(connection, vault, subject)
    rows = connection.execute(
        "SELECT template_id, vector, image_sha256, fingerprint, quality, expires_at FROM templates "
        "WHERE subject = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY number",
        (subject, stamp(now)),
    ).fetchall()
    # A comparison does not need the metadata.
    reader = SubjectReader(subject, [each for each in held.damaged if each.part == "key"])
    templates = []
    for name, blob, image, made_by, quality, expires_at in rows:
        if _expiry(reader, expires_at, name, made_by) == LONG_AGO:
            continue
        about = held.owner.vector(name, image, made_by)
        read = partial(vector_of, held.cipher, blob, about, dimensions.get(made_by))
        templates.append(template_of(reader, read, name, made_by, quality))
    return SubjectTemplates(
        subject,
        held.owner.collection,
        tuple(each for each in templates if each is not None),
        tuple(reader.damaged),
    )


def templates_of_each(
    connection: sqlite3.Connection,
    vault: Vault,
    subjects: Sequence[str],
    now: datetime,
    dimensions: Mapping[str, int],
) -> list[SubjectTemplates]:
    """Return the unexpired templates of several subjects; unknown subjects are left out."""
    found = []
    for subject in subjects:
        with suppress(SubjectNotFound):
            try:
                found.append(templates_of(connection, vault, subject, now, dimensions))
            except sqlite3.DatabaseError as exc:
                if not is_damaged(exc):
                    raise
                found.append(SubjectTemplates(subject, "", (), (lost_page(subject),)))
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
        _summary(at, SubjectRow.open(vault, Owner(subject, within), *held), templates, made_by)
        for subject, at, within, *held, templates, made_by in rows[:limit]
    )
    return Page(items, items[-1].subject if len(rows) > limit else None)


def subject_detail(
    connection: sqlite3.Connection, vault: Vault, subject: str, dimensions: Mapping[str, int]
) -> SubjectDetail:
    """Describe a subject and its templates. Raises SubjectNotFound."""
    created_at, held = subject_row_of(connection, vault, subject)
    rows = connection.execute(
        f"SELECT vector, {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    reader = SubjectReader(subject, [*held.damaged])
    stored = []
    for blob, *row in rows:
        stored.append(_stored(reader, *row))
        held.vector(vector_of, blob, stored[-1], reader, dimensions)
    return SubjectDetail(
        subject,
        reader.read("times", lambda: moment_of(created_at), None) or LONG_AGO,
        held.metadata,
        held.terms,
        tuple(stored),
        held.owner.collection,
        tuple(reader.damaged),
    )


def subject_of(connection: sqlite3.Connection, template_id: str) -> str:
    """Return the subject of a template. Raises TemplateNotFound."""
    rows = connection.execute(
        "SELECT subject FROM templates WHERE template_id = ? LIMIT 1", (template_id,)
    ).fetchall()
    if not rows:
        raise TemplateNotFound
    return str(rows[0][0])


def export(
    connection: sqlite3.Connection, vault: Vault, subject: str, dimensions: Mapping[str, int]
) -> SubjectExport:
    """Return everything stored about a subject. Raises SubjectNotFound."""
    created_at, held = subject_row_of(connection, vault, subject)
    rows = connection.execute(
        f"SELECT vector, {_COLUMNS} FROM templates WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    reader = SubjectReader(subject, [*held.damaged])
    templates = []
    for blob, *row in rows:
        stored = _stored(reader, *row)
        vector = held.vector(vector_of, blob, stored, reader, dimensions)
        if vector is not None:
            templates.append(ExportedTemplate.of(stored, vector))
    photos = connection.execute(
        "SELECT image_sha256, photo FROM photos WHERE subject = ? ORDER BY number", (subject,)
    ).fetchall()
    kept = [photo_of(reader, held.cipher, image, blob) for image, blob in photos]
    return SubjectExport(
        subject,
        reader.read("times", lambda: moment_of(created_at), None) or LONG_AGO,
        held.metadata,
        held.terms,
        tuple(templates),
        tuple(each for each in kept if each is not None),
        tuple(reader.damaged),
    )


def count(connection: sqlite3.Connection, collection: str | None) -> Counts:
    """Count subjects and templates of a collection or of all, including expired templates."""
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
    damaged: list[Damage] | None = None,
) -> Iterator[Entry]:
    """Yield templates as the index holds them, including expired ones.

    Yields all templates, or those of one id, or one bundle's template of one id. Damaged templates
    are left out and added to `damaged`.
    """
    damaged = [] if damaged is None else damaged
    chosen = {"template_id": template_id, "fingerprint": fingerprint}
    given = {name: value for name, value in chosen.items() if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    if given:
        yield from _read(vault, connection.execute(f"{_ENTRIES} WHERE {where}", given), damaged)
        return
    last = 0
    try:
        while rows := connection.execute(
            f"{_ENTRIES} WHERE number > ? ORDER BY number LIMIT ?", (last, _AT_ONCE)
        ).fetchall():
            yield from _read(vault, rows, damaged)
            last = rows[-1][0]
    except sqlite3.DatabaseError as exc:
        if not is_damaged(exc):
            raise
        yield from _rest(connection, vault, last, damaged)


def _rest(
    connection: sqlite3.Connection, vault: Vault, last: int, damaged: list[Damage]
) -> Iterator[Entry]:
    """Yield templates after a number one by one, because some are in a damaged page.

    Their numbers come from an index, which is in other pages.
    """
    listed = connection.execute(
        "SELECT number, subject, fingerprint FROM templates WHERE number > ? "
        "ORDER BY subject, image_sha256, fingerprint",
        (last,),
    ).fetchall()
    for number, subject, fingerprint in listed:
        try:
            rows = connection.execute(f"{_ENTRIES} WHERE number = ?", (number,)).fetchall()
        except sqlite3.DatabaseError as exc:
            if not is_damaged(exc):
                raise
            damaged.append(lost_page(subject, fingerprint))
        else:
            yield from _read(vault, rows, damaged)


def _read(vault: Vault, rows: Iterable[Any], damaged: list[Damage]) -> Iterator[Entry]:
    found: dict[int, list[Entry]] = {}
    for _, *key, template_id, subject, image, made_by, blob, expires_at, collection in rows:
        about = Owner(subject, collection).vector(template_id, image, made_by)
        try:
            vector = _numbers(vault.cipher(WrappedKey.from_row(*key)), blob, about)
            expires = moment_of(expires_at)
        except StoreDamaged:
            reader = SubjectReader(subject)
            read = partial(_numbers, reader.cipher(vault, *key), blob, about)
            reader.read("vector", read, None, template_id, made_by)
            _expiry(reader, expires_at, template_id, made_by)
            damaged += reader.damaged
            continue
        entry = Entry(template_id, subject, made_by, vector, expires, collection)
        found.setdefault(len(vector), []).append(entry)
    for entries_ in found.values():
        good = are_unit(np.stack([entry.vector for entry in entries_])).tolist()
        for entry, is_good in zip(entries_, good, strict=True):
            if is_good:
                yield entry
            else:
                of_template = entry.template_id, entry.fingerprint
                damaged.append(Damage(entry.subject, "vector", NO_VECTOR, *of_template))


def not_found(connection: sqlite3.Connection, subject: str) -> StoreError:
    """Return the error for a missing template: of the template, or of the subject if unknown."""
    known = connection.execute("SELECT 1 FROM subjects WHERE subject = ?", (subject,)).fetchall()
    return (
        TemplateNotFound("The subject has no template with this id.")
        if known
        else SubjectNotFound()
    )


def stamp(at: datetime) -> str:
    """Return a time as UTC ISO-8601 of fixed width, which sorts in time order."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def vector_of(
    cipher: Cipher, blob: bytes, about: str, dimension: int | None = None
) -> NDArray[np.float32]:
    """Decrypt a blob with the associated data `about` to a (d,) float32 unit vector.

    Raises StoreDamaged, also for a wrong dimension.
    """
    return checked(_numbers(cipher, blob, about), dimension)


def _numbers(cipher: Cipher, blob: bytes, about: str) -> NDArray[np.float32]:
    opened = cipher.open(blob, about)
    if not opened or len(opened) % FLOAT32.itemsize:
        raise StoreDamaged("Its length is not that of a vector.")
    return np.frombuffer(opened, FLOAT32).astype(np.float32)


def subject_row_of(
    connection: sqlite3.Connection, vault: Vault, subject: str
) -> tuple[str, SubjectRow]:
    """Return the creation time of a subject, and its row. Raises SubjectNotFound."""
    rows = connection.execute(
        f"SELECT {_HEAD} FROM subjects LEFT JOIN data_keys USING (key_id) WHERE subject = ?",
        (subject,),
    ).fetchall()
    if not rows:
        raise SubjectNotFound
    created_at, collection, *held = rows[0]
    owner = Owner(subject, collection)
    return created_at, SubjectRow.open(vault, owner, *held)


def _summary(created_at: str, held: SubjectRow, templates: int, made_by: str) -> SubjectSummary:
    reader = SubjectReader(held.owner.subject, [*held.damaged])
    return SubjectSummary(
        held.owner.subject,
        templates,
        reader.read("times", lambda: moment_of(created_at), None) or LONG_AGO,
        held.metadata,
        held.terms,
        tuple(sorted(json.loads(made_by))),
        held.owner.collection,
        tuple(reader.damaged),
    )


def _stored(
    reader: SubjectReader,
    template_id: str,
    subject: str,
    fingerprint: str,
    image_sha256: str,
    quality: str,
    created_at: str,
    expires_at: str | None,
) -> StoredTemplate:
    of_template = template_id, fingerprint
    return StoredTemplate(
        template_id,
        subject,
        fingerprint,
        image_sha256,
        reader.read("quality", lambda: quality_of(quality), {}, *of_template),
        reader.read("times", lambda: moment_of(created_at), None, *of_template) or LONG_AGO,
        _expiry(reader, expires_at, *of_template),
    )


def _expiry(
    reader: SubjectReader, text: str | None, template_id: str, fingerprint: str
) -> datetime | None:
    """Return when a template expires; if that is damaged, the template counts as expired."""
    return reader.read("times", lambda: moment_of(text), LONG_AGO, template_id, fingerprint)


def lost_page(subject: str, fingerprint: str | None = None) -> Damage:
    """Return the damage of a template whose page of the file cannot be read."""
    return Damage(subject, "vector", "Its page of the database file is damaged.", None, fingerprint)
