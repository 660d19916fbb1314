"""The schema of a PostgreSQL database, as numbered migrations."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from psycopg import AsyncConnection, errors

from service.errors import StoreUnavailable
from service.store.names import is_odd, plain_key_name
from service.store.postgres.add_cohorts import add_cohorts
from service.store.postgres.add_collections import add_collections
from service.store.postgres.add_nearest import add_nearest

Connection = AsyncConnection[Any]
Migration = Callable[[Connection], Awaitable[None]]

# The first with iterative scans, which find more rows if the nearest have expired.
OLDEST_PGVECTOR = (0, 8)

# "LIKENESS" in ASCII; replicas that start at the same time migrate one after the other.
_LOCK = 0x4C494B454E455353


async def create_schema(connection: Connection) -> None:
    """Create version 1.

    A template's id names a photo of a subject; all bundles' templates of the photo share it. A
    photo is kept as long as a template of it. A vector is stored once, in full precision; each
    bundle has its own search table (see `spaces`), so that no query compares vectors of two
    bundles.

    Triggers keep the counts, because every answer of /identify contains the gallery's size, and to
    count rows takes longer in a larger gallery. Counts have 64 rows, chosen by subject, so that
    writers do not wait for each other.
    """
    for statement in (
        """CREATE TABLE likeness.subjects (
            subject text COLLATE "C" PRIMARY KEY,
            created_at timestamptz NOT NULL,
            metadata text NOT NULL
        )""",
        """CREATE TABLE likeness.templates (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            template_id text COLLATE "C" NOT NULL,
            subject text COLLATE "C" NOT NULL REFERENCES likeness.subjects,
            fingerprint text COLLATE "C" NOT NULL,
            image_sha256 text COLLATE "C" NOT NULL,
            quality text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            vector vector NOT NULL,
            UNIQUE (template_id, fingerprint),
            UNIQUE (subject, image_sha256, fingerprint)
        )""",
        """CREATE TABLE likeness.photos (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            subject text COLLATE "C" NOT NULL REFERENCES likeness.subjects,
            image_sha256 text COLLATE "C" NOT NULL,
            photo bytea NOT NULL,
            UNIQUE (subject, image_sha256)
        )""",
        # Photos are compressed already.
        "ALTER TABLE likeness.photos ALTER COLUMN photo SET STORAGE EXTERNAL",
        """CREATE FUNCTION likeness.forget_photos() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                DELETE FROM likeness.photos USING gone
                WHERE photos.subject = gone.subject AND photos.image_sha256 = gone.image_sha256
                    AND NOT EXISTS (SELECT 1 FROM likeness.templates
                        WHERE templates.subject = gone.subject
                            AND templates.image_sha256 = gone.image_sha256);
                RETURN NULL;
            END $$""",
        """CREATE TRIGGER forget_photos AFTER DELETE ON likeness.templates
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_photos()""",
        """CREATE TABLE likeness.switched (
            single boolean PRIMARY KEY CHECK (single),
            fingerprint text COLLATE "C" NOT NULL
        )""",
        """CREATE TABLE likeness.spaces (
            space integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            fingerprint text COLLATE "C" NOT NULL,
            dimension integer NOT NULL,
            UNIQUE (fingerprint, dimension)
        )""",
        """CREATE TABLE likeness.idempotency (
            key text COLLATE "C" PRIMARY KEY,
            request_sha256 text NOT NULL,
            outcome text NOT NULL,
            created_at timestamptz NOT NULL
        )""",
        "CREATE INDEX ON likeness.idempotency (created_at)",
        """CREATE TABLE likeness.counts (
            shard integer PRIMARY KEY,
            subjects bigint NOT NULL DEFAULT 0,
            templates bigint NOT NULL DEFAULT 0
        ) WITH (fillfactor = 10)""",
        "INSERT INTO likeness.counts (shard) SELECT generate_series(0, 63)",
        *(_counting(table) for table in ("subjects", "templates")),
        *(
            f"""CREATE TRIGGER count_{event.lower()} AFTER {event} ON likeness.{table}
            REFERENCING {rows} TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.count_{table}()"""
            for table in ("subjects", "templates")
            for event, rows in (("INSERT", "NEW"), ("DELETE", "OLD"))
        ),
    ):
        await connection.execute(statement)


def _counting(table: str) -> str:
    return f"""CREATE FUNCTION likeness.count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE likeness.counts
            SET {table} = {table} + CASE TG_OP WHEN 'INSERT' THEN rows ELSE -rows END
            FROM (
                SELECT hashtextextended(subject, 0) & 63 AS of_subject, count(*) AS rows
                FROM changed GROUP BY 1
            ) AS each
            WHERE shard = of_subject;
            RETURN NULL;
        END $$"""


async def add_keys(connection: Connection) -> None:
    """Create version 2, with API keys."""
    await connection.execute(
        """CREATE TABLE likeness.keys (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            key_id text COLLATE "C" NOT NULL UNIQUE,
            name text NOT NULL,
            scopes text[] NOT NULL,
            salt bytea NOT NULL,
            digest bytea NOT NULL,
            per_s double precision,
            at_once integer,
            created_at timestamptz NOT NULL,
            revoked_at timestamptz
        )"""
    )


async def index_expiry(connection: Connection) -> None:
    """Create version 3, with an index to find expired templates."""
    await connection.execute(
        "CREATE INDEX ON likeness.templates (expires_at) WHERE expires_at IS NOT NULL"
    )


async def add_audit(connection: Connection) -> None:
    """Create version 4, with the audit log."""
    await connection.execute(
        """CREATE TABLE likeness.audit (
            number bigint PRIMARY KEY,
            at timestamptz NOT NULL,
            action text NOT NULL,
            subject_sha256 text,
            key_id text,
            counts text NOT NULL,
            previous text NOT NULL,
            digest text NOT NULL
        )"""
    )


async def add_seals(connection: Connection) -> None:
    """Create version 5, with encryption keys and with the terms of a subject.

    Values that may be encrypted are bytes, encrypted or not; vectors are in pgvector's binary
    format. The id of a destroyed key stays. So after the restore of an old backup, today's keys
    show which subjects were erased since. Encrypted and clear vectors have separate search tables.
    """
    for statement in (
        """CREATE TABLE likeness.data_keys (
            key_id text COLLATE "C" PRIMARY KEY,
            master text COLLATE "C",
            wrapped bytea,
            CHECK ((master IS NULL) = (wrapped IS NULL))
        )""",
        "CREATE INDEX ON likeness.data_keys (master)",
        """ALTER TABLE likeness.subjects
            ADD COLUMN key_id text COLLATE "C" REFERENCES likeness.data_keys,
            ADD COLUMN terms bytea,
            ALTER COLUMN metadata TYPE bytea USING convert_to(metadata, 'UTF8')""",
        "CREATE INDEX ON likeness.subjects (key_id)",
        """ALTER TABLE likeness.templates
            ALTER COLUMN vector TYPE bytea USING vector_send(vector)""",
        "ALTER TABLE likeness.templates ALTER COLUMN vector SET STORAGE EXTERNAL",
        """ALTER TABLE likeness.spaces
            ADD COLUMN key_id text COLLATE "C" REFERENCES likeness.data_keys,
            DROP CONSTRAINT spaces_fingerprint_dimension_key""",
        """CREATE UNIQUE INDEX ON likeness.spaces (fingerprint, dimension, (key_id IS NULL))""",
        """CREATE FUNCTION likeness.destroy_keys() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                UPDATE likeness.data_keys SET master = NULL, wrapped = NULL
                FROM gone WHERE data_keys.key_id = gone.key_id;
                RETURN NULL;
            END $$""",
        """CREATE TRIGGER destroy_keys AFTER DELETE ON likeness.subjects
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.destroy_keys()""",
    ):
        await connection.execute(statement)


async def add_signing(connection: Connection) -> None:
    """Create version 7, with API keys whose secret is kept, to check signatures."""
    await connection.execute(
        """ALTER TABLE likeness.keys
        ADD COLUMN signing_key_id text COLLATE "C" REFERENCES likeness.data_keys"""
    )


async def list_unbound(connection: Connection) -> None:
    """Create version 10, with the list of keys whose values are not bound yet (see `unbound`)."""
    for statement in (
        'CREATE TABLE likeness.unbound (key_id text COLLATE "C" PRIMARY KEY)',
        """INSERT INTO likeness.unbound
            SELECT key_id FROM likeness.data_keys WHERE master IS NOT NULL""",
    ):
        await connection.execute(statement)


async def link_requests(connection: Connection) -> None:
    """Create version 11, which forgets the result of a request with the templates that it names.

    A trigger does that, so that it happens in every kind of deletion.
    """
    for statement in (
        """CREATE TABLE likeness.request_templates (
            template_id text COLLATE "C" NOT NULL,
            key text COLLATE "C" NOT NULL REFERENCES likeness.idempotency ON DELETE CASCADE,
            PRIMARY KEY (template_id, key)
        )""",
        "CREATE INDEX ON likeness.request_templates (key)",
        """INSERT INTO likeness.request_templates SELECT DISTINCT outcome_of ->> 0, key
            FROM likeness.idempotency, jsonb_array_elements(outcome::jsonb) AS outcome_of""",
        """DELETE FROM likeness.idempotency WHERE key IN (
            SELECT key FROM likeness.request_templates WHERE NOT EXISTS (
                SELECT 1 FROM likeness.templates
                WHERE templates.template_id = request_templates.template_id))""",
        """CREATE FUNCTION likeness.forget_requests() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                DELETE FROM likeness.idempotency WHERE key IN (
                    SELECT key FROM likeness.request_templates JOIN gone USING (template_id)
                    WHERE NOT EXISTS (SELECT 1 FROM likeness.templates
                        WHERE templates.template_id = gone.template_id));
                RETURN NULL;
            END $$""",
        """CREATE TRIGGER forget_requests AFTER DELETE ON likeness.templates
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_requests()""",
    ):
        await connection.execute(statement)


async def mark_names(connection: Connection) -> None:
    """Create version 12, with a mark for subjects whose name is not in today's form.

    Subjects that a replica of an earlier release enrols are marked too.
    """
    for statement in (
        "ALTER TABLE likeness.subjects ADD COLUMN odd_name boolean NOT NULL DEFAULT false",
        "ALTER TABLE likeness.subjects ALTER COLUMN odd_name SET DEFAULT true",
        "CREATE INDEX ON likeness.subjects (subject) WHERE odd_name",
    ):
        await connection.execute(statement)
    # Most names are ASCII and in today's form.
    found = await connection.execute(
        r"""SELECT subject FROM likeness.subjects
        WHERE subject !~ '^[!-~]([ -~]*[!-~])?$' OR subject IN ('.', '..')"""
    )
    odd = [subject for (subject,) in await found.fetchall() if is_odd(subject)]
    await connection.execute(
        "UPDATE likeness.subjects SET odd_name = true WHERE subject = ANY(%s)", [odd]
    )
    keys = await (await connection.execute("SELECT name, number FROM likeness.keys")).fetchall()
    await connection.cursor().executemany(
        "UPDATE likeness.keys SET name = %s WHERE number = %s",
        [(plain_key_name(name), number) for name, number in keys],
    )


# The next run of autovacuum removes deleted rows, instead of waiting until a fifth of all rows are
# deleted; it also removes them from indexes, which it would skip while few rows are deleted.
VACUUM_SOON = """autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
    vacuum_index_cleanup = on"""


async def vacuum_soon(connection: Connection) -> None:
    """Create version 13, in which deleted rows soon leave the tables, however large they are."""
    tables = ["subjects", "templates", "photos", "data_keys", "idempotency", "request_templates"]
    spaces = await connection.execute("SELECT space FROM likeness.spaces")
    tables += [f"search_{space}" for (space,) in await spaces.fetchall()]
    for table in tables:
        await connection.execute(f"ALTER TABLE likeness.{table} SET ({VACUUM_SOON})")


MIGRATIONS: tuple[Migration, ...] = (
    create_schema,
    add_keys,
    index_expiry,
    add_audit,
    add_seals,
    add_collections,
    add_signing,
    add_nearest,
    add_cohorts,
    list_unbound,
    link_requests,
    mark_names,
    vacuum_soon,
)


async def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply the missing migrations, each in its own transaction.

    Raises StoreUnavailable if the database is newer than this release, of another program,
    without pgvector or not in UTF-8.
    """
    await connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        await _check_encoding(connection)
        await _add_pgvector(connection)
        version = await _version(connection)
        if version > len(migrations):
            raise StoreUnavailable(
                f"The database has version {version}, and this release knows {len(migrations)} "
                "at most: a newer release wrote it. Start that release, or restore a backup."
            )
        for number, migration in enumerate(migrations[version:], version + 1):
            async with connection.transaction():
                await migration(connection)
                await connection.execute("UPDATE likeness.schema SET version = %s", [number])
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


async def _version(connection: Connection) -> int:
    found = await connection.execute(
        "SELECT to_regnamespace('likeness') IS NOT NULL, to_regclass('likeness.schema') IS NOT NULL"
    )
    ((has_namespace, is_ours),) = await found.fetchall()
    if has_namespace and not is_ours:
        raise StoreUnavailable(
            "The database has a schema `likeness` of another program. Name another database."
        )
    if not is_ours:
        async with connection.transaction():
            await connection.execute("CREATE SCHEMA likeness")
            await connection.execute("CREATE TABLE likeness.schema (version integer NOT NULL)")
            await connection.execute("INSERT INTO likeness.schema VALUES (0)")
    ((version,),) = await (
        await connection.execute("SELECT version FROM likeness.schema")
    ).fetchall()
    return int(version)


async def _check_encoding(connection: Connection) -> None:
    ((encoding,),) = await (await connection.execute("SHOW server_encoding")).fetchall()
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"The database stores text as {encoding}. Create it with ENCODING 'UTF8'."
        )


async def _add_pgvector(connection: Connection) -> None:
    """Install the extension if it is missing; this may need a superuser."""
    query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    rows = await (await connection.execute(query)).fetchall()
    if not rows:
        try:
            await connection.execute("CREATE EXTENSION vector")
        except (errors.UndefinedFile, errors.FeatureNotSupported) as exc:
            raise StoreUnavailable(
                "The database server has no pgvector. Install it there (Debian: "
                "postgresql-18-pgvector; container: pgvector/pgvector)."
            ) from exc
        except errors.InsufficientPrivilege as exc:
            raise StoreUnavailable(
                "The database lacks the extension pgvector, and the database user may not add it. "
                "Let an administrator run CREATE EXTENSION vector in this database."
            ) from exc
        rows = await (await connection.execute(query)).fetchall()
    version = str(rows[0][0])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PGVECTOR:
        raise StoreUnavailable(
            f"The database has pgvector {version}, but 0.8 or later is needed. Install it, then "
            "run ALTER EXTENSION vector UPDATE."
        )
