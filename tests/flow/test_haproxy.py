"""The real HAProxy with the rules of the profile `scale` does with requests what is promised."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from service.edge.problems import MEDIA_TYPE
from service.errors import STATUS
from service.schemas.problem import Problem
from service.settings import Settings
from tests.proxy import HAPROXY, RULES, Does, Proxy, Replica, running_proxy

pytestmark = pytest.mark.skipif(
    HAPROXY is None, reason="there is no haproxy; Debian's will do: apt-get install haproxy"
)

Behind = Callable[..., tuple[Proxy, httpx.Client]]


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    """Return what starts the proxy before the replicas given, and a client of it."""
    with ExitStack() as stack:

        def start(*replicas: Replica) -> tuple[Proxy, httpx.Client]:
            for replica in replicas:
                stack.callback(replica.refuse)
            ports = [replica.port for replica in replicas]
            proxy = stack.enter_context(running_proxy(tmp_path, ports))
            return proxy, stack.enter_context(proxy.client())

        yield start


def code_of(response: httpx.Response) -> str:
    """Return a problem's code; the problem has the form of the service's own."""
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.json().keys() <= Problem.model_fields.keys()
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert problem.type == f"urn:likeness:problem:{problem.code}"
    assert problem.request_id == response.headers["x-request-id"]
    return problem.code


def test_the_rules_are_accepted_without_a_warning() -> None:
    assert HAPROXY is not None
    check = subprocess.run([HAPROXY, "-c", "-f", RULES], capture_output=True, text=True)
    assert (check.returncode, re.findall("WARNING|ALERT", check.stderr)) == (0, [])


def test_a_replica_that_is_not_ready_gets_no_request(behind: Behind) -> None:
    ready, unready = Replica(), Replica(ready=False)
    _, client = behind(ready, unready)
    codes = {client.post("/verify", content=b"photo").status_code for _ in range(6)}
    assert (codes, len(ready.requests()), unready.requests()) == ({200}, 6, [])


def test_a_replica_that_becomes_ready_gets_requests(behind: Behind) -> None:
    replica = Replica(ready=False)
    proxy, client = behind(replica)
    replica.ready = True
    proxy.wait_for("Server replicas/replica1 is UP")
    assert client.get("/model").status_code == 200


def test_requests_are_shared_out(behind: Behind) -> None:
    replicas = [Replica(), Replica()]
    _, client = behind(*replicas)
    for _ in range(6):
        client.post("/verify", content=b"photo")
    assert [len(replica.requests()) for replica in replicas] == [3, 3]


def test_a_refused_connection_is_tried_at_another_replica(behind: Behind) -> None:
    gone, there = Replica(), Replica()
    proxy, client = behind(gone, there)
    gone.refuse()
    # One after the other is each replica's turn: one of these comes before any check.
    codes = [client.post("/enroll", content=b"photo").status_code for _ in range(2)]
    assert (codes, len(there.requests())) == ([200, 200], 2)
    assert "replica2, retries +" in proxy.wait_for(r"retries \+")


def test_a_request_that_a_replica_died_with_is_not_sent_twice(behind: Behind) -> None:
    replicas = [Replica(Does.DIE), Replica(Does.DIE)]
    _, client = behind(*replicas)
    response = client.post("/enroll", content=b"photo")
    assert (response.status_code, code_of(response)) == (502, "no_answer")
    assert sum(len(replica.requests()) for replica in replicas) == 1


def test_a_second_request_that_a_replica_died_with_is_answered_too(behind: Behind) -> None:
    replica = Replica()
    _, client = behind(replica)
    assert client.get("/model").status_code == 200
    replica.does = Does.DIE
    response = client.post("/enroll", content=b"photo")
    assert (response.status_code, code_of(response)) == (502, "no_answer")


@pytest.mark.parametrize("does", [Does.BUSY, Does.FAIL])
def test_a_refusal_by_the_service_reaches_the_caller_as_it_is(behind: Behind, does: Does) -> None:
    replicas = [Replica(does), Replica(does)]
    _, client = behind(*replicas)
    response = client.post("/verify", content=b"photo")
    assert (response.status_code, response.headers["retry-after"]) == (does.value, "7")
    assert response.content == Replica.ANSWER
    assert sum(len(replica.requests()) for replica in replicas) == 1


def test_without_a_ready_replica_the_answer_is_not_ready(behind: Behind) -> None:
    _, client = behind(Replica(ready=False))
    response = client.post("/verify", content=b"photo")
    assert (response.status_code, code_of(response)) == (STATUS["not_ready"], "not_ready")
    assert response.headers["retry-after"] == "2"


def test_one_request_id_is_in_the_log_and_at_the_replica(behind: Behind) -> None:
    replica = Replica()
    proxy, client = behind(replica)
    client.get("/model", headers={"x-request-id": "from-the-caller"})
    proxy.wait_for("from-the-caller")
    assert [request.request_id for request in replica.requests()] == ["from-the-caller"]


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "no id, but a sentence"}])
def test_a_request_without_a_harmless_id_is_given_one(
    behind: Behind, headers: dict[str, str]
) -> None:
    replica = Replica()
    _, client = behind(replica)
    client.get("/model", headers=headers)
    assert re.fullmatch("[0-9a-f-]{36}", replica.requests()[0].request_id)


def test_the_log_does_not_name_subjects(behind: Behind) -> None:
    proxy, client = behind(Replica())
    client.get("/subjects/grace/export", params={"subject": "grace"})
    line = proxy.wait_for("GET /")
    assert "GET /subjects 200" in line
    assert "grace" not in line


def test_a_body_announced_as_too_large_reaches_no_replica(behind: Behind) -> None:
    replica = Replica()
    proxy, _ = behind(replica)
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.putrequest("POST", "/enroll")
    connection.putheader("content-length", str(Settings().max_body_bytes + 1))
    connection.endheaders(bytes(64 * 2**10))
    with connection.getresponse() as raw:
        response = httpx.Response(raw.status, headers=raw.getheaders(), content=raw.read())
    connection.close()
    assert (response.status_code, code_of(response)) == (STATUS["body_too_large"], "body_too_large")
    assert replica.requests() == []


def test_a_body_of_the_largest_size_reaches_a_replica(behind: Behind) -> None:
    replica = Replica()
    _, client = behind(replica)
    client.post("/enroll", content=bytes(Settings().max_body_bytes))
    assert [len(request.body) for request in replica.requests()] == [Settings().max_body_bytes]


def test_the_metrics_of_a_replica_by_chance_are_not_shown(behind: Behind) -> None:
    replica = Replica()
    _, client = behind(replica)
    response = client.get("/metrics")
    assert (response.status_code, code_of(response)) == (404, "not_found")
    assert replica.requests() == []


def test_a_caller_who_hangs_up_is_gone_for_the_replica_too(behind: Behind) -> None:
    replica = Replica(Does.HOLD)
    proxy, _ = behind(replica)
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.request("POST", "/verify", b"photo")
    assert replica.arrived.get(timeout=20).body == b"photo"
    connection.close()
    assert replica.hung_up.wait(20)
