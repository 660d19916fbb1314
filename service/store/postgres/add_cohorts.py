"""The migration to version 9 of a PostgreSQL database: search by scores, not by cosines.

A search table holds each vector with one more number, minus half of its cohort mean. The query is
the probe and a 1: the inner product is the score plus half of the probe's cohort mean (see
`models.cohort`).
"""

from typing import Any

from psycopg import AsyncConnection


async def add_cohorts(connection: AsyncConnection[Any]) -> None:
    """Create version 9.

    The search tables are dropped and made again from `templates` when a service names the cohort
    (see `placing`), which is then recorded here.

    The distance of a row in `nearest` is the score of the probe with itself minus the score of
    the row. Without a cohort that is the cosine distance, so the constants of version 8 hold. With
    a cohort it differs by half the difference of the two cohort means.
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
        """CREATE FUNCTION likeness.nearest(
            space integer, probe halfvec, common double precision, rows integer, besides text
        ) RETURNS SETOF bigint LANGUAGE plpgsql STABLE ROWS 40 AS $$
        DECLARE
            batch CONSTANT integer := current_setting('hnsw.ef_search');
            excluded CONSTANT bigint[] := ARRAY(
                SELECT number FROM likeness.templates WHERE subject = besides
            );
            walk refcursor;
            step record;
            numbers bigint[] := '{}';
            distances double precision[] := '{}';
            walked integer := 0;
            stands_out boolean;
        BEGIN
            OPEN walk NO SCROLL FOR EXECUTE format(
                'SELECT number, vector <#> $1 AS negated FROM likeness.search_%s
                    ORDER BY negated LIMIT %s',
                space, greatest(4 * batch, rows + cardinality(excluded))
            ) USING probe;
            LOOP
                FETCH walk INTO step;
                EXIT WHEN NOT FOUND;
                walked := walked + 1;
                IF step.number <> ALL (excluded) THEN
                    numbers := numbers || step.number;
                    distances := distances || 1 - common + step.negated;
                END IF;
                IF walked % batch = 0 AND cardinality(numbers) >= rows THEN
                    SELECT min(far)
                        <= (0.70 + 0.05 * walked / batch) * (array_agg(far ORDER BY far))[40]
                    INTO stands_out FROM unnest(distances) AS far;
                    EXIT WHEN stands_out;
                END IF;
            END LOOP;
            CLOSE walk;
            RETURN QUERY SELECT each.number FROM unnest(numbers, distances) AS each (number, far)
                ORDER BY far LIMIT rows;
        END $$""",
    ):
        await connection.execute(statement)
