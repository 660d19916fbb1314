"""A collection's search tables are dropped with it, even if another replica remembers them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import CollectionNotFound
from service.store import Counts, Store, open_store
from tests.contracts.store.inside import run
from tests.contracts.store.samples import FINGERPRINT, names_found, template, vector_of
from tests.postgres import Cluster


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.new_database()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Open the database twice, as two replicas do."""
    one, other = await open_store(url), await open_store(url)
    yield one, other
    await one.close()
    await other.close()


def tables(url: str) -> list[str]:
    """Return the search tables."""
    rows = run(url, "SELECT tablename FROM pg_tables WHERE tablename LIKE ?", "search_%")
    return sorted(table for (table,) in rows)


async def test_tables_are_dropped_with_their_collection(
    stores: tuple[Store, Store], url: str
) -> None:
    store, _ = stores
    await store.enroll("ada", [template("one")])
    await store.create_collection("a")
    new = [template("one"), template("two", fingerprint="other")]
    await store.enroll("eve", new, collection="a")
    assert len(tables(url)) == 3
    await store.delete_collection("a")
    assert tables(url) == ["search_1"]
    assert run(url, "SELECT count(*) FROM spaces WHERE collection = 'a'") == [(0,)]
    assert run(url, "SELECT count(*) FROM counts WHERE collection = 'a'") == [(0,)]


async def test_refused_enrolment_makes_no_table(stores: tuple[Store, Store], url: str) -> None:
    store, _ = stores
    with pytest.raises(CollectionNotFound):
        await store.enroll("ada", [template("one")], collection="a")
    assert tables(url) == []


async def test_deleted_template_leaves_no_row_in_the_tables_of_its_collection(
    stores: tuple[Store, Store], url: str
) -> None:
    store, _ = stores
    await store.create_collection("a")
    await store.enroll("ada", [template("one", "t1"), template("two")], collection="a")
    await store.enroll("bob", [template("one")])
    await store.delete_template("ada", "t1")
    counts = [run(url, f"SELECT count(*) FROM {table}")[0][0] for table in tables(url)]
    assert sorted(counts) == [1, 1]


async def test_replica_that_knows_tables_of_a_deleted_collection_goes_on(
    stores: tuple[Store, Store],
) -> None:
    one, other = stores
    await one.create_collection("a")
    await one.enroll("ada", [template("one", "t1")], collection="a")
    assert await names_found(other, "one", collection="a") == ["ada"]
    await one.delete_collection("a")
    assert await names_found(other, "one", collection="a") == []
    await one.create_collection("a")
    await one.enroll("bob", [template("one", "t2")], collection="a")
    assert await names_found(other, "one", collection="a") == ["bob"]
    # Again, and its first operation is a write.
    await one.delete_collection("a")
    await one.create_collection("a")
    await other.enroll("eve", [template("one", "t3")], collection="a")
    assert await other.add_vector("eve", "t3", "new", vector_of("new"))
    for store in stores:
        assert await names_found(store, "one", collection="a") == ["eve"]
        found = await store.search(vector_of("new"), "new", 9, "a")
        assert [candidate.subject for candidate in found] == ["eve"]


async def test_concurrent_searches_enrolments_and_deletions_lose_no_subject(
    stores: tuple[Store, Store], url: str
) -> None:
    one, other = stores
    for turn in range(6):
        await one.create_collection("a")
        outcomes = await asyncio.gather(
            *(
                store.enroll(f"s{turn}-{at}", [template("one")], collection="a")
                for at, store in enumerate(stores * 6)
            ),
            *(store.search(vector_of("one"), FINGERPRINT, 9, "a") for store in stores),
            one.delete_collection("a"),
            *(store.search(vector_of("one"), FINGERPRINT, 9, "a") for store in stores),
            return_exceptions=True,
        )
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        assert {type(error) for error in errors} <= {CollectionNotFound}
        assert await other.count() == Counts(0, 0)
        assert tables(url) == []
