"""Two servers on one PostgreSQL database are one service, which outlives the database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.photos import mirrored, photo_bytes, reencoded
from tests.postgres import Cluster, running_cluster
from tests.server import running_server


@pytest.fixture(scope="module")
def replicas(cluster: Cluster) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    store = cluster.new_database()
    with ExitStack() as stack:
        # They start at once, on an empty database.
        with ThreadPoolExecutor() as pool:
            starts = [pool.submit(stack.enter_context, running_server(store)) for _ in range(2)]
        one, two = (stack.enter_context(start.result().client()) for start in starts)
        yield one, two


def enroll(
    client: httpx.Client, subject: str, photo: bytes, key: str | None = None, **fields: str
) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return client.post(
        "/enroll", data={"subject": subject, **fields}, files={"image": photo}, headers=headers
    )


def verify(client: httpx.Client, subject: str) -> httpx.Response:
    photo = mirrored(photo_bytes("astronaut"))
    return client.post("/verify", data={"subject": subject}, files={"image": photo})


def identify(client: httpx.Client) -> list[str]:
    """Return who is found on the photo."""
    response = client.post("/identify", files={"image": mirrored(photo_bytes("astronaut"))})
    return [each["subject"] for each in response.json()["candidates"]]


def test_what_one_replica_does_the_other_sees_at_once(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    for turn in range(5):
        one, two = replicas if turn % 2 else replicas[::-1]
        subject = f"ada{turn}"
        assert enroll(one, subject, photo_bytes("astronaut")).status_code == 201
        assert verify(two, subject).json()["decision"] == "match"
        assert identify(two) == [subject]
        assert two.delete(f"/subjects/{subject}").json()["templates"] == 1
        assert verify(one, subject).json()["code"] == "subject_not_found"
        assert identify(one) == []


def test_a_deleted_template_decides_nothing_at_the_replica_that_just_used_it(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, two = replicas
    made = enroll(one, "eve", photo_bytes("astronaut")).json()["images"][0]["template_id"]
    # Two people under one name, so that it shows whose template decides.
    enroll(one, "eve", photo_bytes("grace"), accept_inconsistent="true")
    assert verify(two, "eve").json()["decision"] == "match"
    one.delete(f"/subjects/eve/templates/{made}")
    assert verify(two, "eve").json()["decision"] == "no_match"
    one.delete("/subjects/eve")


def test_an_idempotency_key_is_known_to_every_replica(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, two = replicas
    first = enroll(one, "bob", photo_bytes("grace"), key="k1")
    again = enroll(two, "bob", photo_bytes("grace"), key="k1")
    other = enroll(two, "bob", reencoded("grace", side=400), key="k1")
    assert again.json()["images"] == first.json()["images"]
    assert other.json()["code"] == "idempotency_conflict"
    one.delete("/subjects/bob")


def test_both_replicas_enrolling_one_subject_lose_nothing(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    with ThreadPoolExecutor(4) as pool:
        sent = [
            pool.submit(enroll, client, "eve", reencoded("grace", side=300 + 10 * turn + side))
            for turn in range(4)
            for side, client in enumerate(replicas)
        ]
    made = {each.result().json()["images"][0]["template_id"] for each in sent}
    held = {each["template_id"] for each in replicas[0].get("/subjects/eve").json()["templates"]}
    assert (held, len(held)) == (made, 8)
    replicas[0].delete("/subjects/eve")


def test_server_says_that_its_database_is_away_and_goes_on_when_it_is_back() -> None:
    with (
        running_cluster() as cluster,
        running_server(cluster.url()) as server,
        server.client() as client,
    ):
        enroll(client, "ada", photo_bytes("astronaut"))
        cluster.kill()
        for response in (verify(client, "ada"), client.get("/readyz")):
            assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in response.headers
        assert client.get("/livez").status_code == 200
        cluster.start()
        assert client.get("/readyz").status_code == 200
        assert verify(client, "ada").json()["decision"] == "match"
