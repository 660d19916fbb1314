"""A client at a full service, and at one that is killed."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.client import Likeness
from service.schemas.admin import AuditAnswer
from tests.checkpoints import write_bundle
from tests.people import write_people
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"LIKENESS_BUNDLE": str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))}


def test_a_full_service_gets_every_photo_in_the_end(bundle: dict[str, str], tmp_path: Path) -> None:
    photos = sorted(write_people(tmp_path / "people", people=4, photos=4).rglob("*.jpg"))
    settings = bundle | {"LIKENESS_MAX_INFLIGHT": "1"}
    waits: list[float] = []

    def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    with running_server(tmp_path / "likeness.db", settings) as server:
        with Likeness(server.url, sleep=sleep) as client:
            done = list(client.embed_many(photos, at_once=8))
        refused = busy(server)
    assert [photo.path for photo in done if photo.image.vector is None] == []
    assert len(done) == len(photos)
    # The client did not really wait, so it was refused often; each wait would have been a second.
    assert 0 < len(waits) == refused
    assert min(waits) >= 1


def busy(server: RunningServer) -> int:
    """Return how many requests were answered with 429."""
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    counted = (line.split()[-1] for line in lines if "requests_total{" in line and '"429"' in line)
    return sum(int(float(number)) for number in counted)


class Dying(httpx.BaseTransport):
    """Kill the server after it has handled the first request, so that the answer is lost."""

    def __init__(self, die: Callable[[], None]) -> None:
        self._inner = httpx.HTTPTransport()
        self._die = die
        self._is_first = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if self._is_first:
            self._is_first = False
            response.read()
            assert response.status_code == 201
            self._die()
            raise httpx.ReadError("The connection was reset.", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


def test_an_enrolment_counts_once_though_the_service_was_killed(
    bundle: dict[str, str], tmp_path: Path
) -> None:
    store = tmp_path / "likeness.db"
    with ExitStack() as stack:
        first = stack.enter_context(running_server(store, bundle))
        port = int(first.url.rpartition(":")[2])
        tries = 0

        def sleep(_: float) -> None:
            """Return at once the first time, and then wait until the server runs again."""
            nonlocal tries
            tries += 1
            if tries == 2:
                stack.enter_context(running_server(store, bundle, port))

        client = stack.enter_context(Likeness(first.url, transport=Dying(first.kill), sleep=sleep))
        # Without the key, the answer would be that this template exists already.
        (image,) = client.enroll("grace", photo_bytes("grace")).images
        held = [template.template_id for template in client.subject("grace").templates]
        log = client.ask("GET", "/audit", AuditAnswer).items
    assert tries == 2
    assert (image.status, [image.template_id]) == ("enrolled", held)
    assert [entry.action for entry in log] == ["enrolled"]
