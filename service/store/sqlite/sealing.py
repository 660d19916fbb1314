"""Encryption keys in a SQLite database, as functions of a connection."""

import sqlite3
from datetime import datetime

from service.errors import StoreUnavailable
from service.store.audit import Event
from service.store.records import ResealCounts
from service.store.sqlite.audit_log import append
from service.store.sqlite.binding import bind
from service.store.sqlite.queries import subject_row_of
from service.store.sqlite.writer import WriteResult
from service.store.subject_row import SubjectRow
from service.store.vault import Owner, Vault, WrappedKey, of_photo, signing_use


def make_ready(connection: sqlite3.Connection, vault: Vault, now: datetime) -> None:
    """Check that the vault decrypts the database, and prepare the database for use.

    Values of earlier releases are bound to their subjects. Subjects that were erased and came back
    with a backup are erased again. Raises InvalidSettings if a master key is missing,
    StoreUnavailable if the subjects' keys are missing.
    """
    masters = connection.execute(
        "SELECT DISTINCT master FROM data_keys WHERE master IS NOT NULL"
    ).fetchall()
    vault.check([master for (master,) in masters if not _opens_one(connection, vault, master)])
    _check_keys(connection)
    bind(connection, vault)
    connection.execute("BEGIN IMMEDIATE")
    # By `master`, which is NULL for a destroyed key and has an index.
    erased = connection.execute(
        "SELECT subject FROM subjects JOIN data_keys USING (key_id) WHERE master IS NULL"
    ).fetchall()
    templates = 0
    for (subject,) in erased:
        templates += connection.execute(
            "DELETE FROM templates WHERE subject = ?", (subject,)
        ).rowcount
        connection.execute("DELETE FROM subjects WHERE subject = ?", (subject,))
    if erased:
        counts = {"subjects": len(erased), "templates": templates}
        append(connection, Event("erased_again", counts=counts), now)
    connection.execute("COMMIT")


def _opens_one(connection: sqlite3.Connection, vault: Vault, master: str) -> bool:
    """Tell whether an unknown master key id is damaged, because the vault decrypts its key."""
    if master in vault.master_ids:
        return False
    row = connection.execute(
        "SELECT key_id, master, wrapped, "
        "(SELECT keys.key_id FROM keys WHERE signing_key_id = data_keys.key_id) "
        "FROM data_keys WHERE master = ? LIMIT 1",
        (master,),
    ).fetchone()
    return vault.opens(_wrapped(*row))


def _wrapped(key_id: str, master: str, blob: bytes, api_key: str | None) -> WrappedKey:
    return WrappedKey(key_id, master, blob, "" if api_key is None else signing_use(api_key))


def _check_keys(connection: sqlite3.Connection) -> None:
    """Raise StoreUnavailable if all subjects' keys are missing; one missing key is damage."""
    lost = len(connection.execute("PRAGMA foreign_key_check(subjects)").fetchall())
    if lost:
        ((sealed,),) = connection.execute(
            "SELECT count(*) FROM subjects WHERE key_id IS NOT NULL"
        ).fetchall()
        if lost == sealed:
            raise StoreUnavailable(
                f"The database holds {lost:,} subjects without their keys. A backup without the "
                "table data_keys needs the newest copy of that table beside it."
            )


def sealed_subject_row(connection: sqlite3.Connection, vault: Vault, subject: str) -> SubjectRow:
    """Return a subject's row for writing; if there is a master key, encrypt the subject first."""
    if vault.current is not None:
        _seal_subject(connection, vault, subject)
    return subject_row_of(connection, vault, subject)[1]


def reseal(
    connection: sqlite3.Connection, vault: Vault, limit: int, by: str | None, now: datetime
) -> WriteResult[ResealCounts]:
    """Encrypt keys by the current master key, then unencrypted subjects, at most `limit` of both.

    When nothing is left, the file is rewritten, because it may hold remains of unencrypted values.
    """
    # Two ranges, so that the index is used.
    others = "FROM data_keys WHERE (master < :current OR master > :current)"
    current = {"current": vault.current}
    rows = connection.execute(
        "SELECT key_id, master, wrapped, "
        "(SELECT keys.key_id FROM keys WHERE signing_key_id = data_keys.key_id) "
        f"{others}",
        current,
    )
    keys, damaged = vault.rewrap_some((_wrapped(*row) for row in rows), limit)
    rows.close()
    for new in keys:
        connection.execute(
            "UPDATE data_keys SET master = ?, wrapped = ? WHERE key_id = ?",
            (new.master, new.blob, new.key_id),
        )
    clear = connection.execute(
        "SELECT subject FROM subjects WHERE key_id IS NULL LIMIT ?", (limit - len(keys),)
    ).fetchall()
    for (subject,) in clear:
        _seal_subject(connection, vault, subject)
    ((left,),) = connection.execute(
        f"SELECT (SELECT count(*) {others}) + (SELECT count(*) FROM subjects WHERE key_id IS NULL)",
        current,
    ).fetchall()
    if keys or clear:
        counts = {"keys": len(keys), "subjects": len(clear)}
        append(connection, Event("resealed", key_id=by, counts=counts), now)
    left -= damaged
    return WriteResult(ResealCounts(len(keys), len(clear), left), erases=True, compacts=left == 0)


def add_key(connection: sqlite3.Connection, key: WrappedKey) -> None:
    """Insert a key."""
    connection.execute(
        "INSERT INTO data_keys (key_id, master, wrapped) VALUES (?, ?, ?)",
        (key.key_id, key.master, key.blob),
    )


def _seal_subject(connection: sqlite3.Connection, vault: Vault, subject: str) -> None:
    """Encrypt all values of a subject under a new key, unless it has a key."""
    ((key_id, metadata, terms, collection),) = connection.execute(
        "SELECT key_id, metadata, terms, collection FROM subjects WHERE subject = ?", (subject,)
    ).fetchall()
    if key_id is not None:
        return
    owner = Owner(subject, collection)
    key, sealer = vault.new_key()
    add_key(connection, key)
    connection.execute(
        "UPDATE subjects SET key_id = ?, metadata = ?, terms = ? WHERE subject = ?",
        (
            key.key_id,
            sealer.seal(metadata, owner.metadata),
            None if terms is None else sealer.seal(terms, owner.terms),
            subject,
        ),
    )
    vectors = connection.execute(
        "SELECT number, vector, template_id, image_sha256, fingerprint FROM templates "
        "WHERE subject = ?",
        (subject,),
    ).fetchall()
    for number, vector, *of_template in vectors:
        connection.execute(
            "UPDATE templates SET vector = ? WHERE number = ?",
            (sealer.seal(vector, owner.vector(*of_template)), number),
        )
    photos = connection.execute(
        "SELECT number, image_sha256, photo FROM photos WHERE subject = ?", (subject,)
    ).fetchall()
    for number, image_sha256, photo in photos:
        connection.execute(
            "UPDATE photos SET photo = ? WHERE number = ?",
            (sealer.seal(photo, of_photo(image_sha256)), number),
        )
