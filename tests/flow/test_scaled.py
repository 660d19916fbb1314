"""Real replicas behind the real proxy, over one PostgreSQL: one answers for the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, running_deployment
from tests.postgres import Cluster
from tests.proxy import HAPROXY
from tests.tools.reliability.rolling import under_load

pytestmark = pytest.mark.skipif(
    HAPROXY is None, reason="there is no haproxy; Debian's will do: apt-get install haproxy"
)


@pytest.fixture
def deployment(cluster: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    with running_deployment(cluster.new_database(), tmp_path) as deployment:
        yield deployment


def test_requests_reach_every_replica_and_all_know_who_was_enrolled(deployment: Deployment) -> None:
    assert [deployment.verify() for _ in range(2)] == [200, 200]
    for number in (1, 2):
        deployment.proxy.wait_for(f"POST /verify 200 .* replica{number},")


def test_replicas_restarted_in_turn_under_load_fail_no_request(deployment: Deployment) -> None:
    statuses = under_load(deployment, deployment.restart_in_turn)
    assert statuses.keys() == {200, 201}


def test_the_other_replica_serves_what_one_killed_cannot(deployment: Deployment) -> None:
    deployment.replicas[0].kill()
    assert [deployment.verify() for _ in range(4)] == [200] * 4
