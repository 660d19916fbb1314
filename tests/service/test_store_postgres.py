"""PostgreSQL keeps the contract of the store, among any number of replicas."""

import pytest

from service.store import Vault
from tests.postgres import Cluster
from tests.service.store_contract import LastingStoreContract
from tests.service.store_samples import MASTER
from tests.service.store_seal_contract import SealContract
from tests.service.store_signing_contract import SigningContract


class TestPostgres(LastingStoreContract):
    @pytest.fixture
    def url(self, cluster: Cluster) -> str:
        return cluster.new_database()


class TestSealedPostgres(SealContract, SigningContract, LastingStoreContract):
    @pytest.fixture
    def url(self, cluster: Cluster) -> str:
        return cluster.new_database()

    @pytest.fixture
    def vault(self) -> Vault:
        return Vault([MASTER])
