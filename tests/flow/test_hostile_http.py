"""Every broken, hostile or odd image gets its 4xx in time, and the service goes on."""

from collections.abc import Iterator
from time import perf_counter

import httpx
import pytest

from tests.hostile import Case, corpus
from tests.photos import photo_bytes
from tests.server import running_server

SECONDS = 2.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = tmp_path_factory.mktemp("data") / "likeness.db"
    with running_server(store) as running, running.client() as client:
        yield client


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in corpus()])
def test_a_hostile_image_gets_its_problem_in_time(client: httpx.Client, case: Case) -> None:
    started = perf_counter()
    response = client.post("/embed", files={"image": case.data})
    took = perf_counter() - started
    code = response.json().get("code")
    assert 400 <= response.status_code < 500, (response.status_code, code)
    assert code in case.codes
    assert took < SECONDS


def test_the_service_answers_normally_afterwards(client: httpx.Client) -> None:
    assert client.post("/embed", files={"image": photo_bytes("grace")}).status_code == 200
