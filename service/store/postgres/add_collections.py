"""The migration to version 6 of a PostgreSQL database: collections."""

from typing import Any

from psycopg import AsyncConnection


async def add_collections(connection: AsyncConnection[Any]) -> None:
    """Create version 6.

    Existing subjects are in the default collection, which is named "" and has no row. Each
    collection has its own counts, by triggers, and its own search tables, which are dropped with
    it.

    A search table no longer has a foreign key to `templates`: a deletion would have to look into
    every search table, and to drop one would lock `templates`. Triggers delete the rows instead.
    """
    for statement in (
        """CREATE TABLE likeness.collections (
            collection text COLLATE "C" PRIMARY KEY,
            created_at timestamptz NOT NULL
        )""",
        """ALTER TABLE likeness.subjects
            ADD COLUMN collection text COLLATE "C" NOT NULL DEFAULT ''""",
        "CREATE INDEX ON likeness.subjects (collection, subject)",
        """ALTER TABLE likeness.counts
            ADD COLUMN collection text COLLATE "C" NOT NULL DEFAULT '',
            DROP CONSTRAINT counts_pkey,
            ADD PRIMARY KEY (collection, shard)""",
        _counting("subjects", "each.collection", "SELECT collection, subject FROM changed"),
        _counting("templates", _COLLECTION, "SELECT subject FROM changed"),
        """ALTER TABLE likeness.spaces
            ADD COLUMN collection text COLLATE "C" NOT NULL DEFAULT ''""",
        "DROP INDEX likeness.spaces_fingerprint_dimension_expr_idx",
        """CREATE UNIQUE INDEX ON likeness.spaces
            (collection, fingerprint, dimension, (key_id IS NULL))""",
        """DO $$
            DECLARE space integer;
            BEGIN
                FOR space IN SELECT spaces.space FROM likeness.spaces LOOP
                    EXECUTE format(
                        'ALTER TABLE likeness.search_%1$s
                        DROP CONSTRAINT IF EXISTS search_%1$s_number_fkey', space);
                END LOOP;
            END $$""",
        _FORGET_ROWS,
        """CREATE TRIGGER forget_rows AFTER DELETE ON likeness.templates
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_rows()""",
        _DROP_TABLE,
        """CREATE TRIGGER drop_table AFTER DELETE ON likeness.spaces
            FOR EACH ROW EXECUTE FUNCTION likeness.drop_table()""",
        """CREATE TRIGGER destroy_keys AFTER DELETE ON likeness.spaces
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION likeness.destroy_keys()""",
    ):
        await connection.execute(statement)


# A subject is deleted after its templates. A subquery instead of a join: a session keeps its first
# plan, and a plan for thousands of rows would read the whole table for each row.
_COLLECTION = """(SELECT collection FROM likeness.subjects
    WHERE subjects.subject = each.subject)"""


def _counting(table: str, collection: str, changed: str) -> str:
    """Count rows by collection and 64 shards, always in one order, which prevents deadlocks."""
    return f"""CREATE OR REPLACE FUNCTION likeness.count_{table}() RETURNS trigger
        LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO likeness.counts AS held (collection, shard, {table})
            SELECT {collection}, hashtextextended(subject, 0) & 63,
                sum(CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END)
            FROM ({changed}) AS each GROUP BY 1, 2 ORDER BY 1, 2
            ON CONFLICT (collection, shard)
                DO UPDATE SET {table} = held.{table} + excluded.{table};
            RETURN NULL;
        END $$"""


_FORGET_ROWS = f"""CREATE FUNCTION likeness.forget_rows() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE space integer;
    BEGIN
        FOR space IN
            SELECT DISTINCT spaces.space
            FROM (SELECT DISTINCT subject, fingerprint FROM gone) AS each
            JOIN likeness.spaces ON spaces.fingerprint = each.fingerprint
                AND spaces.collection = {_COLLECTION}
        LOOP
            EXECUTE format(
                'DELETE FROM likeness.search_%s AS held USING gone
                WHERE held.number = gone.number', space);
        END LOOP;
        RETURN NULL;
    END $$"""

_DROP_TABLE = """CREATE FUNCTION likeness.drop_table() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('DROP TABLE likeness.search_%s', OLD.space);
        RETURN NULL;
    END $$"""
