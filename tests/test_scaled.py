"""Real replicas behind the real proxy, over one PostgreSQL: one answers for the other."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.photos import photo_bytes
from tests.postgres import Cluster
from tests.proxy import HAPROXY, Proxy, running_proxy
from tests.server import RunningServer, running_server

pytestmark = pytest.mark.skipif(
    HAPROXY is None, reason="there is no haproxy; Debian's will do: apt-get install haproxy"
)

# Longer than the proxy needs to notice.
LEAVING = {"LIKENESS_LEAVE_S": "4"}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Hold two replicas, the proxy before them and a client of it."""

    store: str
    replicas: list[RunningServer]
    proxy: Proxy
    client: httpx.Client

    def verify(self) -> int:
        """Verify the portrait that was enrolled; return the status of the answer."""
        photo = {"image": photo_bytes("grace")}
        return self.client.post("/verify", data={"subject": "grace"}, files=photo).status_code


@pytest.fixture
def deployment(cluster: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    store = cluster.new_database()
    with ExitStack() as stack:
        replicas = [stack.enter_context(running_server(store, LEAVING)) for _ in range(2)]
        ports = [httpx.URL(replica.url).port or 0 for replica in replicas]
        proxy = stack.enter_context(running_proxy(tmp_path, ports))
        client = stack.enter_context(proxy.client())
        photo = {"image": photo_bytes("grace")}
        enrolled = client.post("/enroll", data={"subject": "grace"}, files=photo)
        assert enrolled.status_code == 201, enrolled.text
        yield Deployment(store, replicas, proxy, client)


def test_requests_reach_every_replica_and_all_know_who_was_enrolled(deployment: Deployment) -> None:
    assert [deployment.verify() for _ in range(2)] == [200, 200]
    for number in (1, 2):
        deployment.proxy.wait_for(f"POST /verify 200 .* replica{number},")


def test_replicas_restarted_in_turn_under_load_fail_no_request(deployment: Deployment) -> None:
    statuses: Counter[int] = Counter()
    over = Event()

    def verify_until_over() -> None:
        while not over.is_set():
            statuses[deployment.verify()] += 1

    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        callers = [pool.submit(verify_until_over) for _ in range(3)]
        stack.callback(over.set)
        for number, replica in enumerate(deployment.replicas, 1):
            assert replica.stop() == 0
            port = httpx.URL(replica.url).port or 0
            stack.enter_context(running_server(deployment.store, LEAVING, port))
            deployment.proxy.wait_for(f"Health check for server replicas/replica{number} succeeded")
        over.set()
        for caller in callers:
            caller.result()
    assert set(statuses) == {200}


def test_the_other_replica_serves_what_one_killed_cannot(deployment: Deployment) -> None:
    deployment.replicas[0].kill()
    assert [deployment.verify() for _ in range(4)] == [200] * 4
