"""Both clients, at a service that stores, seals and requires as much as it can."""

import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client import Likeness
from service.client.aio import AsyncLikeness
from service.client.requests import DecisionOptions, EnrolOptions
from service.store.master_keys import new_master_key
from tests.photos import mirrored, photo_bytes
from tests.server import RunningServer, running_server

GRACE = photo_bytes("grace")
AGAIN = mirrored(GRACE)
TERMS: EnrolOptions = {
    "consent": "form 12",
    "purpose": "door 3",
    "metadata": {"plate": "B-XY"},
    "liveness_token": "living",
}
LIVE: DecisionOptions = {"liveness_token": "living"}


class Living(BaseHTTPRequestHandler):
    """Answer that every person is living."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        answer = b'{"live": true}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def liveness() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Living) as living:
        threading.Thread(target=living.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{living.server_port}/"
        living.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, liveness: str) -> Iterator[RunningServer]:
    """Run a service with every setting that adds to what is stored or answered."""
    settings = {
        "LIKENESS_STORE_IMAGES": "true",
        "LIKENESS_MASTER_KEYS": new_master_key(),
        "LIKENESS_REQUIRE_CONSENT": "true",
        "LIKENESS_LIVENESS_URL": liveness,
        "LIKENESS_LIVENESS_REQUIRED": "true",
    }
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db", settings) as running:
        yield running


def test_every_method_reads_the_answers_of_a_service_that_stores_everything(
    server: RunningServer,
) -> None:
    with Likeness(server.url) as client:
        made = client.enroll("grace", GRACE, AGAIN, **TERMS)
        assert client.enroll_photo("grace", GRACE, **TERMS).status == "already_enrolled"
        assert client.verify(GRACE, "grace", **LIVE).verified
        assert client.verify_pair(GRACE, AGAIN, **LIVE).verified
        assert client.identify(GRACE, **LIVE).candidates[0].subject == "grace"
        assert client.embed_photo(GRACE).vector == client.embed(GRACE).images[0].vector
        assert len(client.embed_rows(GRACE).rows) == 1
        assert client.subject("grace").terms.consent == "form 12"
        assert [each.subject for each in client.subjects()] == ["grace"]
        assert {b64decode(one.photo) for one in client.export("grace").photos} == {GRACE, AGAIN}
        assert client.model().name == "sface"
        assert client.ready().status == "ok"
        assert client.rename_subject("grace", "hopper").subject == "hopper"
        template = made.images[0].template_id
        assert template is not None
        assert client.delete_template("hopper", template).templates == 1
        assert client.delete_subject("hopper").subjects == 1


async def test_the_asyncio_client_reads_them_too(server: RunningServer) -> None:
    async with AsyncLikeness(server.url) as client:
        await client.enroll("eileen", photo_bytes("astronaut"), **TERMS)
        (photo,) = (await client.export("eileen")).photos
        assert b64decode(photo.photo) == photo_bytes("astronaut")
