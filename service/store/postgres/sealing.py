"""Keep the keys of subjects in a PostgreSQL database."""

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
    to_sign,
    to_turn,
)

# One step along the index for each master key, however many keys there are.
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
    """Check that the vault opens the database, and erase again who came back with a backup.

    Raises InvalidSettings without a master key that is in use.
    """
    masters = await (await connection.execute(_MASTERS)).fetchall()
    vault.check(
        [master for (master,) in masters if not await _opens_one(connection, vault, master)]
    )
    await _drop_lost_spaces(connection, vault)
    # By `master`, which is gone with the key and has an index.
    # The tables of a collection that was deleted since came back too, without what turns them;
    # or those by a cohort of before, and all is to be placed anew.
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
    """Tell whether the name of a master key that is not given is one that is given, damaged."""
    if master in vault.knows:
        return False
    found = await connection.execute(
        f"SELECT {_KEY} FROM likeness.data_keys WHERE master = %s LIMIT 1", [master], binary=True
    )
    rows = await found.fetchall()
    return any(vault.opens(_wrapped(*row)) for row in rows)


async def _drop_lost_spaces(connection: Connection, vault: Vault) -> None:
    """Let tables to search whose keys are damaged be made anew, from the templates."""
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
    """Return what writes to a subject: with a master key at hand, it is sealed first.

    The caller holds the subject's lock.
    """
    if spaces.vault.current is not None:
        await _seal_subject(connection, spaces, subject)
    return await subject_row_of(connection, spaces.vault, subject)


async def rewrap(connection: Connection, vault: Vault, limit: int) -> tuple[int, int]:
    """Wrap at most `limit` keys by the current master key; return how many, and how many cannot.

    One that is damaged stays as it is, and must not be for ever what is left to do.
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
    """Return what a key is for that belongs to an API key, a table to search, or a subject."""
    if api_key is not None:
        return to_sign(api_key)
    return "" if space is None else to_turn(space)


async def clear_subjects(connection: Connection, limit: int) -> list[str]:
    """Return at most `limit` subjects that are not sealed, in an order that all agree on."""
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
    """Count what is left to do but for `damaged` keys, and log what was done."""
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
    """Give a subject that has none a key, and seal what is stored of it."""
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
            continue  # it has expired and is swept away
        try:
            vector = vector_of(ClearCipher(), blob, "")
        except StoreDamaged:
            continue  # there is nothing to find it by
        name = owner.collection, made_by, len(vector)
        before = await spaces.clear(connection, *name)
        held = None if before is None else await _take(connection, before, number)
        space = await spaces.within(connection, *name)
        if held is None:  # nothing is placed yet, right after version 9
            await spaces.add(connection, space, number, vector)
        else:
            # By the cohort it was placed by, which this process need not know.
            await tables.insert(connection, space, number, np.append(vector, held))


async def _take(connection: Connection, space: Space, number: int) -> np.float32 | None:
    """Take a row out of a table of clear vectors; return the number it has beside the vector."""
    taken = await connection.execute(
        f"DELETE FROM {space.table} WHERE number = %s RETURNING vector", [number], binary=True
    )
    row = await taken.fetchone()
    if row is None:
        return None
    held: HalfVector = row[0]
    return np.float32(held.to_numpy()[-1])
