"""The migration to version 8 of a PostgreSQL database: a search that stops when it may.

How many rows of pgvector's graph a search must read depends on the probe. The nearest row found
so far may not be the nearest of all. If one row is clearly nearest, it is nearly always right; if
all are equally near, as they are for an unknown person, often not. So a function in the database
reads the graph in batches of `hnsw.ef_search` rows and checks after each batch whether to stop: if
the nearest row is much nearer than the fortieth. The condition is weaker in later batches.
"""

from typing import Any

from psycopg import AsyncConnection


async def add_nearest(connection: AsyncConnection[Any]) -> None:
    """Create version 8.

    The constants are from tests/tools/bench/NOTES.md. A table's name cannot be a parameter of a
    statement, so the query is planned each time. Without the limit the planner might sort all
    rows.
    """
    await connection.execute(
        """CREATE FUNCTION likeness.nearest(
            space integer, probe halfvec, rows integer, besides text
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
                'SELECT number, vector <=> $1 AS distance FROM likeness.search_%s
                    ORDER BY distance LIMIT %s',
                space, greatest(4 * batch, rows + cardinality(excluded))
            ) USING probe;
            LOOP
                FETCH walk INTO step;
                EXIT WHEN NOT FOUND;
                walked := walked + 1;
                IF step.number <> ALL (excluded) THEN
                    numbers := numbers || step.number;
                    distances := distances || step.distance;
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
        END $$"""
    )
