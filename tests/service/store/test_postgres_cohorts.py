"""PostgreSQL's search tables are made again for another cohort, once, while they are used."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from models.cohort import NO_COHORT, Cohort
from service.store import Store, Vault, open_store
from tests.contracts.store.inside import run
from tests.contracts.store.samples import (
    FINGERPRINT,
    MASTER,
    Clock,
    assert_search_agrees,
    axis,
    cohort_of,
    names_found,
    template,
    vector_of,
)
from tests.postgres import Cluster

IMAGES = [f"i{number}" for number in range(12)]


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.new_database()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Open a database with some subjects twice, as two replicas do."""
    one, other = await open_store(url), await open_store(url)
    await enrol(one, IMAGES)
    yield one, other
    await one.close()
    await other.close()


async def enrol(store: Store, images: Sequence[str]) -> None:
    for image in images:
        await store.enroll(image, [template(image)])


def numbers_of_spaces(url: str) -> list[int]:
    return [space for (space,) in run(url, "SELECT space FROM spaces ORDER BY space")]


def rows_of(url: str) -> dict[str, NDArray[np.float16]]:
    """Return the rows of each subject in the only search table."""
    (space,) = numbers_of_spaces(url)
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        table = sql.Identifier("likeness", f"search_{space}")
        query = sql.SQL(
            "SELECT subject, held.vector FROM {} AS held JOIN likeness.templates USING (number)"
        )
        rows: list[tuple[str, HalfVector]] = connection.execute(query.format(table)).fetchall()
    return {subject: held.to_numpy() for subject, held in rows}


def assert_placed_by(cohort: Cohort, images: Sequence[str], url: str) -> None:
    """Compare the lengths of rows, which show by which cohort they were made."""
    rows = rows_of(url)
    assert sorted(rows) == sorted(images)
    found = [np.linalg.norm(rows[image].astype(np.float32)) for image in images]
    wanted = [np.hypot(1, cohort.mean(vector_of(image)) / 2) for image in images]
    np.testing.assert_allclose(found, wanted, atol=2e-3)


async def test_rows_are_vectors_and_minus_half_of_their_cohort_mean(
    stores: tuple[Store, Store], url: str
) -> None:
    cohort = cohort_of("everybody")
    await stores[0].compare_by(FINGERPRINT, cohort)
    rows = rows_of(url)
    assert sorted(rows) == sorted(IMAGES)
    for image, row in rows.items():
        (wanted,) = cohort.index_rows(vector_of(image)[None])
        np.testing.assert_allclose(row.astype(np.float32), wanted, atol=1e-3)


async def test_tables_are_made_again_for_another_cohort_only(
    stores: tuple[Store, Store], url: str
) -> None:
    seen = []
    for cohort in (NO_COHORT, NO_COHORT, cohort_of("one"), cohort_of("one"), cohort_of("two")):
        for store in stores:
            await store.compare_by(FINGERPRINT, cohort)
        seen.append(numbers_of_spaces(url))
    assert [len(spaces) for spaces in seen] == [1] * 5
    assert seen[0] == seen[1] < seen[2] == seen[3] < seen[4]
    tables = run(url, "SELECT count(*) FROM pg_tables WHERE tablename LIKE ?", "search_%")
    assert tables == [(1,)]


async def test_replicas_that_start_at_once_make_them_once(
    stores: tuple[Store, Store], url: str
) -> None:
    cohort = cohort_of("one")
    await asyncio.gather(*(store.compare_by(FINGERPRINT, cohort) for store in stores * 2))
    assert len(numbers_of_spaces(url)) == 1
    for store in stores:
        await assert_search_agrees(store, Clock().now, cohort=cohort)


async def test_replica_that_knows_the_tables_before_finds_all_and_enrols(
    stores: tuple[Store, Store], url: str
) -> None:
    one, other = stores
    cohort = cohort_of("one")
    assert len(await names_found(other, "i3")) == len(IMAGES)
    await one.compare_by(FINGERPRINT, cohort)
    # By cosines, because no cohort was set.
    await assert_search_agrees(other, Clock().now)
    await one.compare_by(FINGERPRINT, cohort_of("two"))
    await other.enroll("new", [template("new")])
    assert (await names_found(one, "new"))[0] == "new"
    assert (await names_found(other, "new"))[0] == "new"


async def test_enrolments_while_tables_are_made_again_are_all_found(
    stores: tuple[Store, Store], url: str
) -> None:
    one, other = stores
    cohort, new = cohort_of("one"), [f"new{number}" for number in range(16)]
    other_knows = other.compare_by(FINGERPRINT, cohort)
    await asyncio.gather(one.compare_by(FINGERPRINT, cohort), other_knows, enrol(other, new))
    assert_placed_by(cohort, IMAGES + new, url)


async def test_placing_outlasts_the_time_limits_of_the_database(
    url: str, stores: tuple[Store, Store]
) -> None:
    name = url.rpartition("/")[2]
    run(url, f"ALTER DATABASE {name} SET lock_timeout = '20ms'")
    run(url, f"ALTER DATABASE {name} SET statement_timeout = '50ms'")
    store = await open_store(url)
    waited = """SELECT count(*) FROM pg_locks WHERE NOT granted
        AND waitstart < clock_timestamp() - interval '100 ms'"""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("LOCK TABLE likeness.templates IN ROW EXCLUSIVE MODE")
        placing = asyncio.create_task(store.compare_by(FINGERPRINT, cohort_of("one")))
        while await (await connection.execute(waited)).fetchone() != (1,):
            assert not placing.done()
    await placing
    await store.close()
    assert_placed_by(cohort_of("one"), IMAGES, url)


async def test_sealing_keeps_the_cohort_that_the_process_does_not_know(
    stores: tuple[Store, Store], url: str
) -> None:
    await stores[0].compare_by(FINGERPRINT, axis(0))
    sealed = await open_store(url, vault=Vault([MASTER]))
    await sealed.reseal(100)
    await sealed.close()
    run(url, "DELETE FROM spaces WHERE key_id IS NULL")
    rows = rows_of(url)
    found = np.stack([rows[image].astype(np.float32) for image in IMAGES])
    placed = axis(0).index_rows(np.stack([vector_of(image) for image in IMAGES]))
    lacking = np.sqrt(1.25 - np.sum(placed**2, axis=1, keepdims=True))
    wanted = np.concatenate([placed, lacking], axis=1)
    # In a rotated table rows can only be compared with each other, and all have the same length.
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=4e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.25**0.5, atol=2e-3)


async def test_tables_with_a_destroyed_key_are_made_again(url: str) -> None:
    cohort, vault = cohort_of("one"), Vault([MASTER])
    store = await open_store(url, vault=vault)
    await enrol(store, IMAGES)
    await store.compare_by(FINGERPRINT, cohort)
    await store.close()
    # As after the restore of a backup with an earlier cohort, with today's keys.
    destroy = "UPDATE data_keys SET master = NULL, wrapped = NULL WHERE key_id IN"
    run(url, f"{destroy} (SELECT key_id FROM spaces)")
    store = await open_store(url, vault=vault)
    await store.compare_by(FINGERPRINT, cohort)
    await assert_search_agrees(store, Clock().now, cohort=cohort)
    await store.close()


async def test_large_gallery_is_logged_in_counts_alone(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "likeness")
    store = await open_store(url)
    await store.enroll("ada", [template("one")])
    run(
        url,
        """INSERT INTO templates (template_id, subject, fingerprint, image_sha256, quality,
        created_at, vector)
        SELECT 't' || n, 'ada', fingerprint, 'i' || n, quality, created_at, vector
        FROM templates, generate_series(2, 10000) AS n""",
    )
    await store.compare_by(FINGERPRINT, NO_COHORT)
    await store.close()
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "preparing 10000 templates for search by another cohort"
    assert second.startswith("prepared 10000 templates for search in ")
