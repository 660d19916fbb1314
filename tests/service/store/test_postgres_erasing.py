"""Erased data leaves the files of a PostgreSQL server, as far as a client can cause that."""

from collections.abc import Iterator

import psycopg
import pytest

from service.store import Vault, open_store
from tests.contracts.store.inside import run
from tests.contracts.store.samples import MASTER, template, vector_of
from tests.postgres import Cluster, running_cluster


@pytest.fixture(scope="module")
def tidy_cluster() -> Iterator[Cluster]:
    """Run a server that vacuums every second."""
    with running_cluster(autovacuum_naptime="1s") as cluster:
        yield cluster


def in_files(cluster: Cluster, connection: psycopg.Connection, secrets: list[bytes]) -> list[int]:
    """Return which byte strings are in the files of tables and indexes."""
    connection.execute("CHECKPOINT")
    found = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    ((database,),) = found.fetchall()
    files = (cluster.folder / "data" / "base" / str(database)).iterdir()
    raw = b"".join(path.read_bytes() for path in files)
    return [at for at, secret in enumerate(secrets) if secret in raw]


async def test_vectors_of_erased_subjects_leave_tables_and_indexes_by_themselves(
    tidy_cluster: Cluster,
) -> None:
    url = tidy_cluster.new_database()
    store = await open_store(url, vault=Vault([MASTER]))
    names = [f"name {at}" for at in range(20)]
    for name in names:
        await store.enroll(name, [template(name, vector=vector_of(name, 64))])
    secrets = [bytes(blob) for (blob,) in run(url, "SELECT vector FROM templates")]
    # In the files half-precision numbers are little-endian; in pgvector's binary form they are
    # big-endian, after a header of four bytes.
    for (sent,) in run(url, "SELECT halfvec_send(vector) FROM search_1"):
        secrets.append(b"".join(sent[at : at + 2][::-1] for at in range(4, len(sent), 2)))
    with psycopg.connect(url, autocommit=True) as connection:
        assert in_files(tidy_cluster, connection, secrets) == list(range(40))
        for name in names:
            await store.delete_subject(name)
        await store.close()  # otherwise the server counts deleted rows ten seconds later
        for _ in range(300):  # give up after half a minute
            if not in_files(tidy_cluster, connection, secrets):
                break
            connection.execute("SELECT pg_sleep(0.1)")
        assert in_files(tidy_cluster, connection, secrets) == []
