"""Bring a PostgreSQL database to the schema of this release: a new one at once, an old in steps."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from psycopg import AsyncConnection, errors

from service.errors import StoreUnavailable
from service.store.names import is_odd, plain_key_name
from service.store.postgres.schema import NEAREST, SCHEMA, VACUUM_SOON, VERSION
from service.store.versions import missing_steps

Connection = AsyncConnection[Any]
Step = Callable[[Connection], Awaitable[None]]

# The first with iterative scans, which find more rows if the nearest have expired.
OLDEST_PGVECTOR = (0, 8)

# "LIKENESS" in ASCII; replicas that start at the same time migrate one after the other.
_LOCK = 0x4C494B454E455353


async def add_cohorts(connection: Connection) -> None:
    """Create version 9, which searches by scores instead of cosines.

    The search tables are dropped and made again from `templates` when a service names the cohort
    (see `placing`), which is then recorded here.
    """
    for statement in (
        "DELETE FROM likeness.spaces",
        # So that a replica of an earlier release cannot make a table that this release searches.
        "ALTER TABLE likeness.spaces RENAME COLUMN dimension TO vector_dimension",
        """CREATE TABLE likeness.cohorts (
            fingerprint text COLLATE "C" PRIMARY KEY,
            digest text NOT NULL
        )""",
        "DROP FUNCTION likeness.nearest(integer, halfvec, integer, text)",
        NEAREST,
    ):
        await connection.execute(statement)


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


async def vacuum_soon(connection: Connection) -> None:
    """Create version 13, in which deleted rows soon leave the tables, however large they are."""
    tables = ["subjects", "templates", "photos", "data_keys", "idempotency", "request_templates"]
    spaces = await connection.execute("SELECT space FROM likeness.spaces")
    tables += [f"search_{space}" for (space,) in await spaces.fetchall()]
    for table in tables:
        await connection.execute(f"ALTER TABLE likeness.{table} SET ({VACUUM_SOON})")


STEPS: Final[Mapping[int, Step]] = MappingProxyType(
    {9: add_cohorts, 10: list_unbound, 11: link_requests, 12: mark_names, 13: vacuum_soon}
)
"""Each step by the version that it makes; a step that was released does not change."""


async def migrate(connection: Connection, steps: Mapping[int, Step] = STEPS) -> None:
    """Create the schema in a new database, or apply the missing steps to an old one.

    Raises StoreUnavailable if the database is newer than this release, older than it upgrades, of
    another program, without pgvector or not in UTF-8.
    """
    await connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        await _check_encoding(connection)
        await _add_pgvector(connection)
        version = await _version(connection)
        if not version:
            async with connection.transaction():
                await connection.execute(SCHEMA)
                await connection.execute("INSERT INTO likeness.schema VALUES (%s)", [VERSION])
            version = VERSION
        for number, step in missing_steps(version, steps):
            async with connection.transaction():
                await step(connection)
                await connection.execute("UPDATE likeness.schema SET version = %s", [number])
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


async def _version(connection: Connection) -> int:
    """Return the version of the schema, 0 if there is none."""
    found = await connection.execute(
        "SELECT to_regnamespace('likeness') IS NOT NULL, to_regclass('likeness.schema') IS NOT NULL"
    )
    ((has_namespace, is_ours),) = await found.fetchall()
    if has_namespace and not is_ours:
        raise StoreUnavailable(
            "The database has a schema `likeness` of another program. Name another database."
        )
    if not is_ours:
        return 0
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
