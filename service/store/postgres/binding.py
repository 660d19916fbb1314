"""Bind encrypted values of earlier releases in a PostgreSQL database (see `unbound`)."""

from service.store.postgres.migrations import Connection
from service.store.postgres.sealing import use_of
from service.store.unbound import AT_ONCE, bind_key, bind_row, bind_vector
from service.store.vault import Owner, Vault, WrappedKey

# Replicas that start at the same time take turns, and each continues when all is done.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('likeness.unbound', 4))"


async def bind(connection: Connection, vault: Vault) -> bool:
    """Bind the values of some listed keys; return False if no key was listed."""
    await connection.execute(_LOCK)
    listed = await connection.execute(
        """DELETE FROM likeness.unbound WHERE key_id IN
        (SELECT key_id FROM likeness.unbound LIMIT %s) RETURNING key_id""",
        [AT_ONCE],
    )
    key_ids = [key_id for (key_id,) in await listed.fetchall()]
    if key_ids:
        await _bind_subjects(connection, vault, key_ids)
        await _bind_others(connection, vault, key_ids)
    return bool(key_ids)


async def _bind_subjects(connection: Connection, vault: Vault, key_ids: list[str]) -> None:
    subjects = await connection.execute(
        """SELECT subject, collection, metadata, terms, key_id, master, wrapped
        FROM likeness.subjects JOIN likeness.data_keys USING (key_id)
        WHERE key_id = ANY(%s) AND master IS NOT NULL""",
        [key_ids],
        binary=True,
    )
    held = {
        subject: (Owner(subject, collection), vault.cipher(WrappedKey(*key)), metadata, terms)
        for subject, collection, metadata, terms, *key in await subjects.fetchall()
    }
    templates = await connection.execute(
        """SELECT number, subject, vector, template_id, image_sha256, fingerprint
        FROM likeness.templates WHERE subject = ANY(%s)""",
        [list(held)],
        binary=True,
    )
    cursor = connection.cursor()
    await cursor.executemany(
        "UPDATE likeness.subjects SET metadata = %s, terms = %s WHERE subject = %s",
        [
            (*bind_row(cipher, owner, metadata, terms), subject)
            for subject, (owner, cipher, metadata, terms) in held.items()
        ],
    )
    await cursor.executemany(
        "UPDATE likeness.templates SET vector = %s WHERE number = %s",
        [
            (bind_vector(held[subject][1], held[subject][0], *of_template), number)
            for number, subject, *of_template in await templates.fetchall()
        ],
    )


async def _bind_others(connection: Connection, vault: Vault, key_ids: list[str]) -> None:
    """Bind the secrets of API keys that sign, and the seeds of search tables."""
    found = await connection.execute(
        """SELECT data_keys.key_id, master, wrapped, keys.key_id, space
        FROM likeness.data_keys LEFT JOIN likeness.keys ON signing_key_id = data_keys.key_id
        LEFT JOIN likeness.spaces ON spaces.key_id = data_keys.key_id
        WHERE data_keys.key_id = ANY(%s) AND master IS NOT NULL
            AND (keys.key_id IS NOT NULL OR space IS NOT NULL)""",
        [key_ids],
        binary=True,
    )
    for *key, api_key, space in await found.fetchall():
        bound = bind_key(vault, WrappedKey(*key), use_of(api_key, space))
        await connection.execute(
            "UPDATE likeness.data_keys SET master = %s, wrapped = %s WHERE key_id = %s",
            [bound.master, bound.blob, bound.key_id],
        )
