"""A search in PostgreSQL reads as many rows of the index as its probe needs, and no more."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray
from pgvector import Vector

from models.cohort import NO_COHORT, Cohort, index_query
from service.store import open_store
from service.store.postgres.database import Database
from service.store.postgres.migrations import Connection
from tests.contracts.store.inside import run
from tests.contracts.store.samples import FINGERPRINT, template, vector_of
from tests.postgres import Cluster

# Random vectors of this dimension are all about equally near to each other.
DIMENSION = 256
SUBJECTS, EACH = 20, 100
BATCH = 80


@pytest.fixture(scope="module")
def url(cluster: Cluster) -> str:
    """Return a store with enrolled subjects that do not resemble each other."""
    url = cluster.new_database()
    asyncio.run(fill(url))
    return url


@pytest.fixture(scope="module")
def everybody() -> Cohort:
    return Cohort(np.stack([vector_of(f"face {face}", DIMENSION) for face in range(200)]), 10)


async def fill(url: str) -> None:
    store = await open_store(url)
    for subject in range(SUBJECTS):
        images = [f"{subject}-{number}" for number in range(EACH)]
        new = [template(image, vector=vector_of(image, DIMENSION)) for image in images]
        await store.enroll(f"s{subject}", new)
    await store.close()


async def rows_read(
    url: str,
    probe: NDArray[np.float32],
    exclude: str | None = None,
    cohort: Cohort = NO_COHORT,
) -> int:
    """Return how many rows of the index a search for the nearest 40 reads."""
    store = await open_store(url)
    await store.compare_by(FINGERPRINT, cohort)
    await store.close()
    ((space,),) = run(url, "SELECT space FROM spaces")
    run(url, f"ANALYZE search_{space}")

    async def look(connection: Connection) -> int:
        # PostgreSQL would compare with all rows if there are so few.
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute(
            "SELECT likeness.nearest(%s, %s::vector::halfvec, %s, 40, %s)",
            [space, Vector(index_query(probe)), cohort.mean(probe) / 2, exclude],
        )
        # Only this table has an index of vectors.
        found = await connection.execute(
            "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s",
            [f"search_{space}"],
        )
        ((rows,),) = await found.fetchall()
        return int(rows)

    database = await Database.open(url)
    rows = await database.write(look)
    await database.close()
    return rows


async def test_search_ends_at_a_clear_best_match(url: str) -> None:
    assert await rows_read(url, vector_of("3-14", DIMENSION)) == BATCH


async def test_search_continues_without_a_clear_best_match(url: str) -> None:
    assert await rows_read(url, vector_of("a stranger", DIMENSION)) == 4 * BATCH


async def test_search_by_a_cohort_ends_and_continues_in_the_same_way(
    url: str, everybody: Cohort
) -> None:
    assert await rows_read(url, vector_of("3-14", DIMENSION), cohort=everybody) == BATCH
    assert await rows_read(url, vector_of("a stranger", DIMENSION), cohort=everybody) == 4 * BATCH


async def test_search_continues_if_the_clear_best_match_is_excluded(url: str) -> None:
    assert await rows_read(url, vector_of("3-14", DIMENSION), "s3") == 4 * BATCH


async def test_all_rows_asked_for_are_looked_at(url: str) -> None:
    store = await open_store(url)
    found = await store.search(vector_of("3-14", DIMENSION), FINGERPRINT, SUBJECTS)
    await store.close()
    assert len(found) == SUBJECTS
