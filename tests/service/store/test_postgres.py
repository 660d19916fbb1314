"""PostgreSQL fulfils the contract of the store, with any number of replicas."""

import pytest

from models.cohort import NO_COHORT
from service.store import Store, Vault, open_store
from tests.contracts.store.damage import SealedDamageContract
from tests.contracts.store.inside import run
from tests.contracts.store.samples import (
    FINGERPRINT,
    MASTER,
    Clock,
    names_found,
    template,
    vector_of,
)
from tests.contracts.store.seal import SealContract
from tests.contracts.store.signing import SigningContract
from tests.contracts.store.whole import LastingStoreContract
from tests.postgres import Cluster


class TestPostgres(LastingStoreContract):
    @pytest.fixture
    def url(self, cluster: Cluster) -> str:
        return cluster.new_database()


class TestSealedPostgres(SealContract, SealedDamageContract, SigningContract, LastingStoreContract):
    @pytest.fixture
    def url(self, cluster: Cluster) -> str:
        return cluster.new_database()

    @pytest.fixture
    def vault(self) -> Vault:
        return Vault([MASTER])

    async def test_swapped_rotated_rows_do_not_swap_subjects(self, store: Store, url: str) -> None:
        await store.create_collection("vault")
        for name, collection in (("ada", ""), ("bob", ""), ("eve", "vault")):
            await store.enroll(name, [template(name)], collection=collection)
        tables = {
            collection: f"search_{space}"
            for space, collection in run(url, "SELECT space, collection FROM spaces")
        }
        own, other = tables[""], tables["vault"]
        numbers = dict(run(url, "SELECT subject, number FROM templates"))
        ada, bob = numbers["ada"], numbers["bob"]
        run(url, f"UPDATE {own} SET number = ? - number", ada + bob + 1000)
        run(url, f"UPDATE {own} SET number = number - 1000")
        run(url, f"INSERT INTO {own} SELECT * FROM {other}")
        for face in ("ada", "bob", "eve"):
            found = await store.search(vector_of(face), FINGERPRINT, 9)
            assert {each.subject for each in found if each.cosine > 0.99} <= {face} - {"eve"}

    async def test_tables_with_swapped_seeds_are_made_again(self, store: Store, url: str) -> None:
        await store.create_collection("vault")
        await store.enroll("ada", [template("ada")])
        await store.enroll("eve", [template("eve")], collection="vault")
        run(url, "CREATE TABLE kept AS SELECT * FROM spaces")
        run(
            url,
            "UPDATE spaces SET key_id = (SELECT key_id FROM kept WHERE kept.space <> spaces.space)",
        )
        replica = await open_store(url, Clock(), Vault([MASTER]))
        await replica.compare_by(FINGERPRINT, NO_COHORT)
        assert await names_found(replica, "ada") == ["ada"]
        assert await names_found(replica, "eve", collection="vault") == ["eve"]
        await replica.close()
