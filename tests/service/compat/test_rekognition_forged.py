"""Bodies whose signature is not checked yet take nothing from callers with a valid key."""

import hashlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.checkpoints import write_bundle
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server
from tests.service.compat.aws import rekognition_client
from tests.tools.bench.machine import resident_mb

MASTER = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PERMITS, FORGED, PIECE = 4, 40, 2**20
MOST_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class Keyed:
    """Hold a server, and a key of it that signs."""

    server: RunningServer
    key: dict[str, Any]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    settings = {
        "LIKENESS_REKOGNITION": "true",
        "LIKENESS_MASTER_KEYS": MASTER,
        "LIKENESS_BUNDLE": str(write_bundle(folder / "tiny")),
        "LIKENESS_MAX_INFLIGHT": str(PERMITS),
        "LIKENESS_MAX_BODY_BYTES": str(MOST_BYTES),
    }
    with running_server(folder / "likeness.db", settings) as server, server.client() as client:
        form = {"name": "all", "scopes": ["verify", "embed", "admin"], "signing": True}
        yield Keyed(server, client.post("/keys", json=form).json())


def head(keyed: Keyed, secret: str, sha256: str | None) -> bytes:
    """Return the head of a signed request whose body is to have as many bytes as it may."""
    request = AWSRequest("POST", f"{keyed.server.url}/", data=b"the body that was signed")
    request.headers["content-type"] = "application/x-amz-json-1.1"
    request.headers["x-amz-target"] = "RekognitionService.DetectFaces"
    if sha256 is not None:
        request.headers["x-amz-content-sha256"] = sha256
    signer = SigV4Auth(Credentials(keyed.key["access_key_id"], secret), "rekognition", "local")
    signer.add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    host = keyed.server.url.removeprefix("http://")
    lines = ["POST / HTTP/1.1", f"host: {host}", *lines, f"content-length: {MOST_BYTES}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def begin(stack: ExitStack, keyed: Keyed, sent: bytes) -> socket.socket:
    """Send the beginning of a request on a connection of its own."""
    address = httpx.URL(keyed.server.url)
    connection = stack.enter_context(socket.create_connection((address.host, address.port or 0)))
    connection.settimeout(30)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read an answer: its status and its body."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_forged_bodies_hold_no_permit_and_no_memory_of_real_callers(keyed: Keyed) -> None:
    server, key, photo = keyed.server, keyed.key, photo_bytes("grace")
    real = rekognition_client(server.url, key["access_key_id"], key["secret_access_key"])
    forged = head(keyed, "x" * 43, None)
    with ExitStack() as stack:
        real.detect_faces(Image={"Bytes": photo})
        before_mb = resident_mb(server.process.pid)
        held = [begin(stack, keyed, forged + b"x" * PIECE) for _ in range(FORGED)]
        # Those that had to make way read why; there is room for two whole bodies.
        refused = answer(held[0])
        with server.client() as client:
            client.headers["x-api-key"] = key["key"]
            for _ in range(PERMITS):
                assert client.post("/embed", files={"image": photo}).status_code == 200
                assert real.detect_faces(Image={"Bytes": photo})["FaceDetails"]
            metrics = client.get("/metrics").text
        grown_mb = resident_mb(server.process.pid) - before_mb
    assert refused[0] == 429
    assert b"ThrottlingException" in refused[1]
    assert "likeness_inflight 0.0" in metrics
    assert grown_mb < 2 * MOST_BYTES / 2**20 + 32


@pytest.mark.parametrize(
    ("is_right", "sha256"),
    [(False, hashlib.sha256(b"x").hexdigest()), (True, "0" * 63), (True, "UNSIGNED-PAYLOAD")],
    ids=["another secret", "a short hash", "no hash"],
)
def test_head_that_tells_of_the_body_is_checked_before_the_body(
    keyed: Keyed, is_right: bool, sha256: str
) -> None:
    secret = keyed.key["secret_access_key"] if is_right else "x" * 43
    with ExitStack() as stack:
        _, told = answer(begin(stack, keyed, head(keyed, secret, sha256)))
    assert b"UnrecognizedClientException" in told


def test_body_that_is_not_the_stated_one_is_refused_at_its_end(keyed: Keyed) -> None:
    stated = hashlib.sha256(b"another body").hexdigest()
    with ExitStack() as stack:
        signed = head(keyed, keyed.key["secret_access_key"], stated)
        _, told = answer(begin(stack, keyed, signed + b"x" * MOST_BYTES))
    assert b"is not the SHA-256 of the body" in told
