"""PostgreSQL keeps the contract of the store, among any number of replicas."""

import pytest

from tests.postgres import Cluster
from tests.service.store_contract import LastingStoreContract


class TestPostgres(LastingStoreContract):
    @pytest.fixture
    def url(self, cluster: Cluster) -> str:
        return cluster.new_database()
