"""Encryption keys in a PostgreSQL database."""

from datetime import datetime

import numpy as np
from pgvector import HalfVector

from service.errors import StoreDamaged
from service.store.audit import Event
from service.store.postgres import spaces as tables
from service.store.postgres.audit_log import append
from service.store.postgres.migrations import Connection
from service.store.postgres.queries import subject_row_of, vector_of
from service.store.postgres.spaces import Space, Spaces
from service.store.records import ResealCounts
from service.store.subject_row import SubjectRow
from service.store.vault import (
    AesGcmCipher,
    ClearCipher,
    Owner,
    Vault,
    WrappedKey,
    of_photo,
    rotation_use,
    signing_use,
)

# Reads one index entry for each master key, however many keys there are.
_MASTERS = """WITH RECURSIVE used AS (
        (SELECT min(master) AS master FROM likeness.data_keys)
        UNION ALL
        SELECT (SELECT min(master) FROM likeness.data_keys WHERE master > used.master)
        FROM used WHERE used.master IS NOT NULL
    ) SELECT master FROM used WHERE master IS NOT NULL"""
_KEY = """key_id, master, wrapped,
    (SELECT keys.key_id FROM likeness.keys WHERE signing_key_id = data_keys.key_id),
    (SELECT space FROM likeness.spaces WHERE spaces.key_id = data_keys.key_id)"""
_OTHERS = "FROM likeness.data_keys WHERE (master < %(current)s OR master > %(current)s)"


async def make_ready(connection: Connection, vault: Vault, now: datetime) -> None:
    """Check that the vault decrypts the database, and prepare the database for use.

    Subjects that were erased and came back with a backup are erased again. Raises InvalidSettings
    if a master key is missing.
    """
    masters = await (await connection.execute(_MASTERS)).fetchall()
    vault.check(
        [master for (master,) in masters if not await _opens_one(connection, vault, master)]
    )
    await _drop_lost_spaces(connection, vault)
    # By `master`, which is NULL for a destroyed key and has an index.
    # Search tables of deleted collections came back too, without their rotation; so did tables by
    # an earlier cohort. They are all made again.
    await connection.execute(
        """WITH gone AS (
            DELETE FROM likeness.spaces USING likeness.data_keys
            WHERE data_keys.key_id = spaces.key_id AND master IS NULL RETURNING fingerprint
        ) DELETE FROM likeness.cohorts USING gone WHERE cohorts.fingerprint = gone.fingerprint"""
    )
    found = await connection.execute(
        """SELECT subject FROM likeness.subjects
        JOIN likeness.data_keys USING (key_id) WHERE master IS NULL"""
    )
    names = [subject for (subject,) in await found.fetchall()]
    if not names:
        return
    templates = await connection.execute(
        "DELETE FROM likeness.templates WHERE subject = ANY(%s)", [names]
    )
    await connection.execute("DELETE FROM likeness.subjects WHERE subject = ANY(%s)", [names])
    counts = {"subjects": len(names), "templates": templates.rowcount}
    await append(connection, Event("erased_again", counts=counts), now)


async def _opens_one(connection: Connection, vault: Vault, master: str) -> bool:
    """Tell whether an unknown master key id is damaged, because the vault decrypts its key."""
    if master in vault.master_ids:
        return False
    found = await connection.execute(
        f"SELECT {_KEY} FROM likeness.data_keys WHERE master = %s LIMIT 1", [master], binary=True
    )
    rows = await found.fetchall()
    return any(vault.opens(_wrapped(*row)) for row in rows)


async def _drop_lost_spaces(connection: Connection, vault: Vault) -> None:
    """Drop search tables with a damaged key, so that they are made again from the templates."""
    found = await connection.execute(
        f"""SELECT {_KEY} FROM likeness.data_keys
        WHERE master IS NOT NULL AND key_id IN (SELECT key_id FROM likeness.spaces)""",
        binary=True,
    )
    rows = await found.fetchall()
    lost = [row[0] for row in rows if not vault.opens(_wrapped(*row))]
    await connection.execute(
        """WITH gone AS (
            DELETE FROM likeness.spaces WHERE key_id = ANY(%s) RETURNING fingerprint
        ) DELETE FROM likeness.cohorts USING gone WHERE cohorts.fingerprint = gone.fingerprint""",
        [lost],
    )


async def sealed_subject_row(connection: Connection, spaces: Spaces, subject: str) -> SubjectRow:
    """Return a subject's row for writing; if there is a master key, encrypt the subject first.

    The caller must hold the subject's lock.
    """
    if spaces.vault.current is not None:
        await _seal_subject(connection, spaces, subject)
    return await subject_row_of(connection, spaces.vault, subject)


async def rewrap(connection: Connection, vault: Vault, limit: int) -> tuple[int, int]:
    """Encrypt at most `limit` keys by the current master key.

    Returns their number, and the number of damaged keys that were met. Damaged keys stay as they
    are; the caller subtracts them from the work that is left.
    """
    done, damaged, after = 0, 0, ""
    while done < limit:
        found = await connection.execute(
            f"""SELECT {_KEY} {_OTHERS} AND data_keys.key_id > %(after)s
            ORDER BY data_keys.key_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED""",
            {"current": vault.current, "limit": limit - done, "after": after},
            binary=True,
        )
        rows = await found.fetchall()
        if not rows:
            break
        after = rows[-1][0]
        keys, lost = vault.rewrap_some((_wrapped(*row) for row in rows), limit)
        damaged += lost
        done += len(keys)
        for new in keys:
            await connection.execute(
                "UPDATE likeness.data_keys SET master = %s, wrapped = %s WHERE key_id = %s",
                [new.master, new.blob, new.key_id],
            )
    return done, damaged


def _wrapped(
    key_id: str, master: str, blob: bytes, api_key: str | None, space: int | None
) -> WrappedKey:
    return WrappedKey(key_id, master, blob, use_of(api_key, space))


def use_of(api_key: str | None, space: int | None) -> str:
    """Return the use of a key, by the API key or the search table it belongs to, if any."""
    if api_key is not None:
        return signing_use(api_key)
    return "" if space is None else rotation_use(space)


async def clear_subjects(connection: Connection, limit: int) -> list[str]:
    """Return at most `limit` unencrypted subjects, in the same order for all replicas."""
    found = await connection.execute(
        "SELECT subject FROM likeness.subjects WHERE key_id IS NULL ORDER BY subject LIMIT %s",
        [limit],
    )
    return [subject for (subject,) in await found.fetchall()]


async def resealed(
    connection: Connection,
    vault: Vault,
    keys: int,
    subjects: int,
    damaged: int,
    by: str | None,
    now: datetime,
) -> ResealCounts:
    """Count the work that is left, without `damaged` keys, and log what was done."""
    found = await connection.execute(
        f"""SELECT (SELECT count(*) {_OTHERS})
            + (SELECT count(*) FROM likeness.subjects WHERE key_id IS NULL)""",
        {"current": vault.current},
    )
    ((left,),) = await found.fetchall()
    if keys or subjects:
        counts = {"keys": keys, "subjects": subjects}
        await append(connection, Event("resealed", key_id=by, counts=counts), now)
    return ResealCounts(keys, subjects, left - damaged)


async def _seal_subject(connection: Connection, spaces: Spaces, subject: str) -> None:
    """Encrypt all values of a subject under a new key, unless it has a key."""
    found = await connection.execute(
        "SELECT key_id, metadata, terms, collection FROM likeness.subjects WHERE subject = %s",
        [subject],
        binary=True,
    )
    row = await found.fetchone()
    if row is None or row[0] is not None:
        return
    _, metadata, terms, collection = row
    owner = Owner(subject, collection)
    key, sealer = spaces.vault.new_key()
    await tables.add_key(connection, key)
    await connection.execute(
        "UPDATE likeness.subjects SET key_id = %s, metadata = %s, terms = %s WHERE subject = %s",
        [
            key.key_id,
            sealer.seal(metadata, owner.metadata),
            None if terms is None else sealer.seal(terms, owner.terms),
            subject,
        ],
    )
    await _seal_templates(connection, spaces, sealer, owner)
    photos = await connection.execute(
        "SELECT number, image_sha256, photo FROM likeness.photos WHERE subject = %s",
        [subject],
        binary=True,
    )
    for number, image, photo in await photos.fetchall():
        await connection.execute(
            "UPDATE likeness.photos SET photo = %s WHERE number = %s",
            [sealer.seal(photo, of_photo(image)), number],
        )


async def _seal_templates(
    connection: Connection, spaces: Spaces, sealer: AesGcmCipher, owner: Owner
) -> None:
    templates = await connection.execute(
        """SELECT number, template_id, image_sha256, fingerprint, vector FROM likeness.templates
        WHERE subject = %s""",
        [owner.subject],
        binary=True,
    )
    for number, template_id, image, made_by, blob in await templates.fetchall():
        sealed = await connection.execute(
            "UPDATE likeness.templates SET vector = %s WHERE number = %s",
            [sealer.seal(blob, owner.vector(template_id, image, made_by)), number],
        )
        if not sealed.rowcount:
            continue  # it has expired and was erased meanwhile
        try:
            vector = vector_of(ClearCipher(), blob, "")
        except StoreDamaged:
            continue  # a damaged vector is not in a search table
        name = owner.collection, made_by, len(vector)
        before = await spaces.clear(connection, *name)
        held = None if before is None else await _take(connection, before, number)
        space = await spaces.within(connection, *name)
        if held is None:  # right after the migration to version 9 there is no table
            await spaces.add(connection, space, number, vector)
        else:
            # With its old cohort mean; this process may not know the cohort.
            await tables.insert(connection, space, number, np.append(vector, held))


async def _take(connection: Connection, space: Space, number: int) -> np.float32 | None:
    """Delete a row of clear vectors; return the number beside its vector, None if it is missing."""
    taken = await connection.execute(
        f"DELETE FROM {space.table} WHERE number = %s RETURNING vector", [number], binary=True
    )
    row = await taken.fetchone()
    if row is None:
        return None
    held: HalfVector = row[0]
    return np.float32(held.to_numpy()[-1])
