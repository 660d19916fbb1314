"""The schema of a SQLite database, as numbered migrations."""

import sqlite3
from collections.abc import Callable, Sequence

from service.errors import StoreUnavailable
from service.store.names import is_odd, plain_key_name

Migration = Callable[[sqlite3.Connection], None]

# "LIKE" in ASCII: the mark of a database of this service.
APPLICATION_ID = 0x4C494B45


def create_schema(connection: sqlite3.Connection) -> None:
    """Create version 1.

    Template rows are only appended, by `number`, so that SQLite never copies a vector to another
    page, where a deletion of the row would leave it.
    """
    for statement in (
        """CREATE TABLE subjects (
            subject TEXT PRIMARY KEY,
            created_at TEXT NOT NULL,
            metadata TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE templates (
            number INTEGER PRIMARY KEY,
            template_id TEXT NOT NULL UNIQUE,
            subject TEXT NOT NULL REFERENCES subjects (subject),
            fingerprint TEXT NOT NULL,
            image_sha256 TEXT NOT NULL,
            quality TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT,
            vector BLOB NOT NULL CHECK (length(vector) > 0 AND length(vector) % 4 = 0),
            UNIQUE (subject, image_sha256, fingerprint)
        )""",
        """CREATE TABLE idempotency (
            key TEXT PRIMARY KEY,
            request_sha256 TEXT NOT NULL,
            outcome TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX idempotency_created_at ON idempotency (created_at)",
    ):
        connection.execute(statement)


def share_ids(connection: sqlite3.Connection) -> None:
    """Create version 2, for a change of bundle.

    A template's id names a photo of a subject; all bundles' templates of the photo share it. A
    photo is kept as long as a template of it. Triggers keep the counts, because every answer of
    /identify contains the gallery's size, and to count a million rows takes longer than a search.
    """
    for statement in (
        """CREATE TABLE templates_2 (
            number INTEGER PRIMARY KEY,
            template_id TEXT NOT NULL,
            subject TEXT NOT NULL REFERENCES subjects (subject),
            fingerprint TEXT NOT NULL,
            image_sha256 TEXT NOT NULL,
            quality TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT,
            vector BLOB NOT NULL CHECK (length(vector) > 0 AND length(vector) % 4 = 0),
            UNIQUE (template_id, fingerprint),
            UNIQUE (subject, image_sha256, fingerprint)
        )""",
        """INSERT INTO templates_2 SELECT number,
            first_value(template_id) OVER (PARTITION BY subject, image_sha256 ORDER BY number),
            subject, fingerprint, image_sha256, quality, created_at, expires_at, vector
            FROM templates ORDER BY number""",
        "DROP TABLE templates",
        "ALTER TABLE templates_2 RENAME TO templates",
        """CREATE TABLE photos (
            number INTEGER PRIMARY KEY,
            subject TEXT NOT NULL REFERENCES subjects (subject),
            image_sha256 TEXT NOT NULL,
            photo BLOB NOT NULL,
            UNIQUE (subject, image_sha256)
        )""",
        """CREATE TRIGGER forget_photo AFTER DELETE ON templates
        WHEN NOT EXISTS (SELECT 1 FROM templates
            WHERE subject = OLD.subject AND image_sha256 = OLD.image_sha256)
        BEGIN
            DELETE FROM photos WHERE subject = OLD.subject AND image_sha256 = OLD.image_sha256;
        END""",
        """CREATE TABLE switched (
            single INTEGER PRIMARY KEY CHECK (single = 1),
            fingerprint TEXT NOT NULL
        )""",
        "CREATE TABLE counts (subjects INTEGER NOT NULL, templates INTEGER NOT NULL)",
        """INSERT INTO counts
            SELECT (SELECT count(*) FROM subjects), (SELECT count(*) FROM templates)""",
        *(
            f"""CREATE TRIGGER count_{table}_{event} AFTER {event} ON {table}
            BEGIN UPDATE counts SET {table} = {table} {change}; END"""
            for table in ("subjects", "templates")
            for event, change in (("INSERT", "+ 1"), ("DELETE", "- 1"))
        ),
    ):
        connection.execute(statement)


def add_keys(connection: sqlite3.Connection) -> None:
    """Create version 3, with API keys."""
    connection.execute(
        """CREATE TABLE keys (
            number INTEGER PRIMARY KEY,
            key_id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            scopes TEXT NOT NULL,
            salt BLOB NOT NULL,
            digest BLOB NOT NULL,
            per_s REAL,
            at_once INTEGER,
            created_at TEXT NOT NULL,
            revoked_at TEXT
        )"""
    )


def index_expiry(connection: sqlite3.Connection) -> None:
    """Create version 4, with an index to find expired templates."""
    connection.execute(
        "CREATE INDEX templates_expires_at ON templates (expires_at) WHERE expires_at IS NOT NULL"
    )


def add_audit(connection: sqlite3.Connection) -> None:
    """Create version 5, with the audit log."""
    connection.execute(
        """CREATE TABLE audit (
            number INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            action TEXT NOT NULL,
            subject_sha256 TEXT,
            key_id TEXT,
            counts TEXT NOT NULL,
            previous TEXT NOT NULL,
            digest TEXT NOT NULL
        )"""
    )


def add_seals(connection: sqlite3.Connection) -> None:
    """Create version 6, with encryption keys and with the terms of a subject.

    The id of a destroyed key stays. So after the restore of an old backup, today's keys show
    which subjects were erased since, and a key that is merely missing is a different case.
    """
    for statement in (
        """CREATE TABLE data_keys (
            key_id TEXT PRIMARY KEY,
            master TEXT,
            wrapped BLOB,
            CHECK ((master IS NULL) = (wrapped IS NULL))
        ) WITHOUT ROWID""",
        "CREATE INDEX data_keys_master ON data_keys (master)",
        "ALTER TABLE subjects ADD COLUMN key_id TEXT REFERENCES data_keys (key_id)",
        "ALTER TABLE subjects ADD COLUMN terms BLOB",
        "CREATE INDEX subjects_key_id ON subjects (key_id)",
        # Values that may be encrypted are bytes, encrypted or not.
        "UPDATE subjects SET metadata = CAST(metadata AS BLOB)",
        """CREATE TRIGGER destroy_key AFTER DELETE ON subjects WHEN OLD.key_id IS NOT NULL
        BEGIN
            UPDATE data_keys SET master = NULL, wrapped = NULL WHERE key_id = OLD.key_id;
        END""",
    ):
        connection.execute(statement)


def add_collections(connection: sqlite3.Connection) -> None:
    """Create version 7, with collections.

    Triggers keep the counts of each collection. Existing subjects are in the default collection,
    which has a row of counts and no other row.
    """
    for statement in (
        """CREATE TABLE collections (
            collection TEXT PRIMARY KEY,
            created_at TEXT NOT NULL
        ) WITHOUT ROWID""",
        "ALTER TABLE subjects ADD COLUMN collection TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX subjects_collection ON subjects (collection, subject)",
        "ALTER TABLE counts ADD COLUMN collection TEXT NOT NULL DEFAULT ''",
        "CREATE UNIQUE INDEX counts_collection ON counts (collection)",
        *(
            f"DROP TRIGGER count_{table}_{event}"
            for table in ("subjects", "templates")
            for event in ("INSERT", "DELETE")
        ),
        *(
            f"""CREATE TRIGGER count_{table}_{event} AFTER {event} ON {table}
            BEGIN UPDATE counts SET {table} = {table} {change}
            WHERE collection = {collection.format(row=row)}; END"""
            for table, collection in (
                ("subjects", "{row}.collection"),
                # A subject is deleted after its templates.
                ("templates", "(SELECT collection FROM subjects WHERE subject = {row}.subject)"),
            )
            for event, row, change in (("INSERT", "NEW", "+ 1"), ("DELETE", "OLD", "- 1"))
        ),
    ):
        connection.execute(statement)


def add_signing(connection: sqlite3.Connection) -> None:
    """Create version 8, with API keys whose secret is kept, to check signatures."""
    connection.execute(
        "ALTER TABLE keys ADD COLUMN signing_key_id TEXT REFERENCES data_keys (key_id)"
    )


def list_unbound(connection: sqlite3.Connection) -> None:
    """Create version 9, with the list of keys whose values are not bound yet (see `unbound`)."""
    for statement in (
        "CREATE TABLE unbound (key_id TEXT PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO unbound SELECT key_id FROM data_keys WHERE master IS NOT NULL",
    ):
        connection.execute(statement)


def link_requests(connection: sqlite3.Connection) -> None:
    """Create version 10, which forgets the result of a request with the templates that it names.

    A trigger does that, so that it happens in every kind of deletion.
    """
    for statement in (
        """CREATE TABLE request_templates (
            template_id TEXT NOT NULL,
            key TEXT NOT NULL REFERENCES idempotency (key) ON DELETE CASCADE,
            PRIMARY KEY (template_id, key)
        ) WITHOUT ROWID""",
        "CREATE INDEX request_templates_key ON request_templates (key)",
        """INSERT OR IGNORE INTO request_templates
            SELECT json_extract(value, '$[0]'), idempotency.key
            FROM idempotency, json_each(outcome)""",
        """DELETE FROM idempotency WHERE key IN (SELECT key FROM request_templates
            WHERE template_id NOT IN (SELECT template_id FROM templates))""",
        """CREATE TRIGGER forget_request AFTER DELETE ON templates
        WHEN NOT EXISTS (SELECT 1 FROM templates WHERE template_id = OLD.template_id)
        BEGIN
            DELETE FROM idempotency WHERE key IN
                (SELECT key FROM request_templates WHERE template_id = OLD.template_id);
        END""",
    ):
        connection.execute(statement)


def mark_names(connection: sqlite3.Connection) -> None:
    """Create version 11, with a mark for subjects whose name is not in today's form."""
    for statement in (
        "ALTER TABLE subjects ADD COLUMN odd_name INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX subjects_odd_name ON subjects (subject) WHERE odd_name",
    ):
        connection.execute(statement)
    subjects = connection.execute("SELECT subject FROM subjects").fetchall()
    connection.executemany(
        "UPDATE subjects SET odd_name = 1 WHERE subject = ?",
        [(subject,) for (subject,) in subjects if is_odd(subject)],
    )
    keys = connection.execute("SELECT name, number FROM keys").fetchall()
    connection.executemany(
        "UPDATE keys SET name = ? WHERE number = ?",
        [(plain_key_name(name), number) for name, number in keys],
    )


MIGRATIONS: tuple[Migration, ...] = (
    create_schema,
    share_ids,
    add_keys,
    index_expiry,
    add_audit,
    add_seals,
    add_collections,
    add_signing,
    list_unbound,
    link_requests,
    mark_names,
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply the missing migrations, each in its own transaction.

    Raises StoreUnavailable if the database is newer than this release, or of another program.
    """
    _check_ours(connection)
    version = _pragma(connection, "user_version")
    if version > len(migrations):
        raise StoreUnavailable(
            f"The database has version {version}, and this release knows {len(migrations)} "
            "at most: a newer release wrote it. Start that release, or restore a backup."
        )
    for number, migration in enumerate(migrations[version:], version + 1):
        # Immediate, to take the write lock before the migration reads.
        connection.execute("BEGIN IMMEDIATE")
        try:
            migration(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _check_ours(connection: sqlite3.Connection) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreUnavailable(
            "The database belongs to another program. Name another file for the store."
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
