"""The step to version 8 of a PostgreSQL database: a walk through an index that knows its end.

How far a search has to go through pgvector's graph depends on who is looked for. A walk that has
found somebody far nearer than the rest has hardly ever missed a nearer one; where all are about
as near, as they are around a stranger, it often has. So the walk is made inside the database, in
batches of `hnsw.ef_search` rows, and looks after each whether it may end: whether the nearest is
at most so many times as far as the fortieth. Later batches ask for less.
"""

from typing import Any

from psycopg import AsyncConnection


async def add_nearest(connection: AsyncConnection[Any]) -> None:
    """Version 8.

    The figures are those of tests/tools/bench/NOTES.md. A table's name is no parameter of a
    statement, so the one that is walked through is planned each time. A limit tells the planner
    that few of the rows are wanted, or it might sort them all.
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
