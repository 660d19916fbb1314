"""Read the templates of a SQLite database as the search index holds them."""

import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.cohort import are_unit
from service.errors import StoreDamaged
from service.store.damage import LONG_AGO, NO_VECTOR, SubjectReader, checked, moment_of
from service.store.records import Damage
from service.store.sql.read import lost_page
from service.store.sqlite.index import Entry
from service.store.sqlite.writer import is_damaged
from service.store.vault import Cipher, Owner, Vault, WrappedKey

FLOAT32: Final = np.dtype("<f4")

# Rows read at a time: enough for numpy to be fast, and little memory.
_AT_ONCE: Final = 4096
_ENTRIES: Final = """SELECT number, key_id, master, wrapped, template_id, subject, image_sha256,
    fingerprint, vector, expires_at, collection
    FROM templates JOIN subjects USING (subject) LEFT JOIN data_keys USING (key_id)"""


def entries_of(connection: sqlite3.Connection, vault: Vault, template_id: str) -> Iterator[Entry]:
    """Yield all bundles' templates of one id, including expired ones, without damaged ones."""
    rows = connection.execute(f"{_ENTRIES} WHERE template_id = ?", (template_id,)).fetchall()
    yield from _read(vault, rows, [])


def all_entries(
    connection: sqlite3.Connection, vault: Vault, damaged: list[Damage]
) -> Iterator[Entry]:
    """Yield all templates, including expired ones; add the damaged ones to `damaged`."""
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
            reader.read("times", partial(moment_of, expires_at), LONG_AGO, template_id, made_by)
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
