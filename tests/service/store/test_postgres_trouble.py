"""If a database is away, too old, foreign or busy, errors are clear and no restart is needed."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from service.errors import InvalidSettings, StoreUnavailable
from service.store import Store, open_store
from service.store.postgres.migrations import STEPS, Connection, migrate
from service.store.postgres.schema import VERSION
from tests.contracts.store.samples import FINGERPRINT, names_found, template, vector_of
from tests.postgres import Cluster, running_cluster


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.new_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    yield store
    await store.close()


async def run(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement)


async def ask(url: str, question: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(question)).fetchall()


async def test_requests_fail_while_the_database_is_away_and_succeed_after() -> None:
    with running_cluster() as cluster:
        store = await open_store(cluster.url())
        await store.enroll("ada", [template("one")])
        cluster.kill()
        for asked in (
            store.ping(),
            store.templates_of("ada"),
            store.enroll("bob", [template("2")]),
        ):
            with pytest.raises(StoreUnavailable):
                await asked
        cluster.start()
        await store.ping()
        assert await names_found(store, "one") == ["ada"]
        await store.close()


async def test_restart_between_two_requests_fails_neither() -> None:
    with running_cluster() as cluster:
        store = await open_store(cluster.url())
        await asyncio.gather(*(store.enroll(f"s{i}", [template(f"{i}")]) for i in range(8)))
        cluster.stop()
        cluster.start()
        assert await names_found(store, "3", limit=1) == ["s3"]
        await store.close()


async def test_database_that_is_not_there_is_named_without_user_and_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_store("postgresql://adam:hunter2@127.0.0.1:1/likeness")
    assert "likeness at 127.0.0.1, port 1 cannot be opened" in caught.value.sentence
    for secret in ("adam", "hunter2"):
        assert secret not in caught.value.sentence


async def test_url_that_cannot_be_read_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidSettings) as caught:
        await open_store("postgresql://user:hunter2@[host/db")
    assert "hunter2" not in caught.value.sentence


async def test_stores_that_open_an_empty_database_at_once_migrate_it_once(url: str) -> None:
    stores = await asyncio.gather(*(open_store(url) for _ in range(4)))
    await asyncio.gather(
        *(store.enroll(f"s{i}", [template(f"{i}")]) for i, store in enumerate(stores))
    )
    assert await ask(url, "SELECT version FROM likeness.schema") == [(VERSION,)]
    assert await ask(url, "SELECT count(*) FROM likeness.spaces") == [(1,)]
    await asyncio.gather(*(store.close() for store in stores))


async def test_failed_migration_leaves_the_version_before_it(url: str) -> None:
    async def half(connection: Connection) -> None:
        await connection.execute("CREATE TABLE likeness.half (number integer)")
        await connection.execute("SELECT 1 / 0")

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await migrate(connection, {**STEPS, VERSION + 1: half})
        await migrate(connection)
    assert await ask(url, "SELECT to_regclass('likeness.half')") == [(None,)]


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["CREATE SCHEMA likeness"], "another program"),
        (
            [
                "CREATE SCHEMA likeness",
                "CREATE TABLE likeness.schema (version integer)",
                "INSERT INTO likeness.schema VALUES (999)",
            ],
            "999",
        ),
    ],
    ids=["another program's", "newer"],
)
async def test_database_that_is_not_ours_to_use_is_refused(
    url: str, statements: list[str], says: str
) -> None:
    await run(url, *statements)
    with pytest.raises(StoreUnavailable, match=says):
        await open_store(url)


async def test_database_in_another_encoding_is_refused(cluster: Cluster) -> None:
    cluster.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreUnavailable, match="UTF8"):
        await open_store(cluster.url("latin"))


async def test_user_who_may_not_add_pgvector_gets_the_command_to_run(
    cluster: Cluster, url: str
) -> None:
    cluster.run("CREATE USER guest")
    await run(url, f"GRANT CREATE ON DATABASE {url.rpartition('/')[2]} TO guest")
    with pytest.raises(StoreUnavailable, match="CREATE EXTENSION vector"):
        await open_store(url.replace("postgres@", "guest@"))


async def test_database_that_takes_no_writes_is_not_ready(store: Store, url: str) -> None:
    name = url.rpartition("/")[2]
    await run(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    # Open connections keep their settings.
    await run(
        url,
        "SET default_transaction_read_only = off",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND pid <> pg_backend_pid()",
    )
    with pytest.raises(StoreUnavailable, match="accepts no writes"):
        await store.ping()


async def test_writers_of_the_same_templates_in_opposite_order_both_end(url: str) -> None:
    stores = await asyncio.gather(open_store(url), open_store(url))
    for turn in range(4):
        there = [template(f"{turn}a", f"{turn}a"), template(f"{turn}b", f"{turn}b")]
        await asyncio.gather(
            *(
                store.enroll(f"{turn}-{side}", order)
                for side, (store, order) in enumerate(
                    zip(stores, (there, there[::-1]), strict=True)
                )
            ),
            return_exceptions=True,
        )
        # The ids are unique: one subject gets both, the other none.
        held = await ask(url, "SELECT count(DISTINCT subject), count(*) FROM likeness.templates")
        assert held == [(turn + 1, 2 * (turn + 1))]
    await asyncio.gather(*(store.close() for store in stores))


async def test_search_is_exact_when_half_precision_cannot_tell_candidates_apart(
    store: Store,
) -> None:
    probe = vector_of("probe")
    aside = vector_of("aside") - probe * (vector_of("aside") @ probe)
    near = [probe + aside * offset for offset in (0.0, 1e-4, 2e-4, 3e-4)]
    for number in (3, 1, 0, 2):
        await store.enroll(f"s{number}", [template(f"{number}", vector=near[number])])
    found = await store.search(probe, FINGERPRINT, 4)
    assert [candidate.subject for candidate in found] == ["s0", "s1", "s2", "s3"]


async def test_deleted_values_are_in_no_table(store: Store, url: str) -> None:
    await store.enroll("ada", [template("one"), template("two")])
    await store.delete_subject("ada")
    for table in ("subjects", "templates", "search_1"):
        assert await ask(url, f"SELECT count(*) FROM likeness.{table}") == [(0,)]
