"""Bind encrypted values of earlier releases in a SQLite database (see `unbound`)."""

import sqlite3

from service.store.unbound import AT_ONCE, bind_key, bind_row, bind_vector
from service.store.vault import Owner, Vault, WrappedKey, signing_use


def bind(connection: sqlite3.Connection, vault: Vault) -> None:
    """Bind the values of all listed keys, some keys per transaction."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        listed = connection.execute("SELECT key_id FROM unbound LIMIT ?", (AT_ONCE,)).fetchall()
        for key in listed:
            _bind_subject(connection, vault, *key)
            _bind_signing(connection, vault, *key)
            connection.execute("DELETE FROM unbound WHERE key_id = ?", key)
        connection.execute("COMMIT")
        if not listed:
            return


def _bind_subject(connection: sqlite3.Connection, vault: Vault, key_id: str) -> None:
    rows = connection.execute(
        "SELECT subject, collection, metadata, terms, key_id, master, wrapped "
        "FROM subjects JOIN data_keys USING (key_id) WHERE key_id = ? AND master IS NOT NULL",
        (key_id,),
    ).fetchall()
    for subject, collection, metadata, terms, *key in rows:
        owner, cipher = Owner(subject, collection), vault.cipher(WrappedKey(*key))
        connection.execute(
            "UPDATE subjects SET metadata = ?, terms = ? WHERE subject = ?",
            (*bind_row(cipher, owner, metadata, terms), subject),
        )
        templates = connection.execute(
            "SELECT number, vector, template_id, image_sha256, fingerprint FROM templates "
            "WHERE subject = ?",
            (subject,),
        ).fetchall()
        connection.executemany(
            "UPDATE templates SET vector = ? WHERE number = ?",
            [(bind_vector(cipher, owner, *rest), number) for number, *rest in templates],
        )


def _bind_signing(connection: sqlite3.Connection, vault: Vault, key_id: str) -> None:
    rows = connection.execute(
        "SELECT keys.key_id, data_keys.key_id, master, wrapped FROM keys JOIN data_keys "
        "ON data_keys.key_id = signing_key_id WHERE signing_key_id = ? AND master IS NOT NULL",
        (key_id,),
    ).fetchall()
    for api_key, *key in rows:
        bound = bind_key(vault, WrappedKey(*key), signing_use(api_key))
        connection.execute(
            "UPDATE data_keys SET master = ?, wrapped = ? WHERE key_id = ?",
            (bound.master, bound.blob, key_id),
        )
