"""Which keys Rekognition's operations need, and which setting serves them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.checkpoints import write_bundle
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server
from tests.service.compat.aws import rekognition_client

GRACE = {"Bytes": photo_bytes("grace")}
MASTER = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@dataclass(frozen=True, slots=True)
class Keyed:
    """Hold a server with keys, one of which administers and signs."""

    server: RunningServer
    admin: dict[str, Any]

    def make(self, *scopes: str, **limits: float) -> dict[str, Any]:
        """Make a key that signs."""
        form = {"name": "aws", "scopes": scopes, "signing": True, **limits}
        with self.server.client() as client:
            header = {"x-api-key": self.admin["key"]}
            made: dict[str, Any] = client.post("/keys", json=form, headers=header).json()
        return made

    def revoke(self, key: dict[str, Any]) -> None:
        with self.server.client() as client:
            header = {"x-api-key": self.admin["key"]}
            assert client.delete(f"/keys/{key['key_id']}", headers=header).status_code == 200

    def client(self, key: dict[str, Any]) -> Any:
        return rekognition_client(self.server.url, key["access_key_id"], key["secret_access_key"])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    settings = {
        "LIKENESS_REKOGNITION": "true",
        "LIKENESS_MASTER_KEYS": MASTER,
        "LIKENESS_BUNDLE": str(write_bundle(folder / "tiny")),
    }
    with running_server(folder / "likeness.db", settings) as server, server.client() as client:
        form = {"name": "admin", "scopes": ["admin"], "signing": True}
        yield Keyed(server, client.post("/keys", json=form).json())


def code_of(call: Any, **members: Any) -> str:
    """Return the code of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    code: str = caught.value.response["Error"]["Code"]
    return code


def signed(
    keyed: Keyed, body: bytes, at: datetime | None = None, key: dict[str, Any] | None = None
) -> AWSRequest:
    """Sign a request for the collections, as any SDK does, but by a clock of the test's."""
    key = key or keyed.admin
    request = AWSRequest("POST", f"{keyed.server.url}/", data=body)
    request.headers["content-type"] = "application/x-amz-json-1.1"
    request.headers["x-amz-target"] = "RekognitionService.ListCollections"
    pair = Credentials(key["access_key_id"], key["secret_access_key"])
    signer = SigV4Auth(pair, "rekognition", "local")
    if at is None:
        signer.add_auth(request)
        return request
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return request


def send(request: AWSRequest, body: bytes) -> httpx.Response:
    return httpx.post(request.url, headers=dict(request.headers.items()), content=body)


def test_key_that_signs_does_what_its_scope_allows(keyed: Keyed) -> None:
    admin = keyed.client(keyed.admin)
    admin.create_collection(CollectionId="staff")
    enroll, verify = (keyed.client(keyed.make(scope)) for scope in ("enroll", "verify"))
    enroll.index_faces(CollectionId="staff", Image=GRACE)
    found = verify.search_faces_by_image(CollectionId="staff", Image=GRACE, FaceMatchThreshold=0)
    assert len(found["FaceMatches"]) == 1


@pytest.mark.parametrize(
    ("operation", "members", "scope"),
    [
        ("compare_faces", {"SourceImage": GRACE, "TargetImage": GRACE}, "verify"),
        ("detect_faces", {"Image": GRACE}, "verify"),
        ("search_faces_by_image", {"CollectionId": "c", "Image": GRACE}, "verify"),
        ("search_faces", {"CollectionId": "c", "FaceId": "0" * 36}, "verify"),
        ("index_faces", {"CollectionId": "c", "Image": GRACE}, "enroll"),
        ("create_collection", {"CollectionId": "c"}, "admin"),
        ("list_collections", {}, "admin"),
        ("describe_collection", {"CollectionId": "c"}, "admin"),
        ("delete_collection", {"CollectionId": "c"}, "admin"),
        ("list_faces", {"CollectionId": "c"}, "admin"),
        ("delete_faces", {"CollectionId": "c", "FaceIds": ["0" * 36]}, "admin"),
    ],
)
def test_key_without_the_scope_is_denied(
    keyed: Keyed, operation: str, members: dict[str, Any], scope: str
) -> None:
    others = {"verify", "enroll", "admin"} - {scope}
    client = keyed.client(keyed.make(*others))
    assert code_of(getattr(client, operation), **members) == "AccessDeniedException"


def test_wrong_secret_and_unknown_id_are_refused_alike(keyed: Keyed) -> None:
    url, key = keyed.server.url, keyed.admin
    wrong = rekognition_client(url, key["access_key_id"], "x" * 43)
    unknown = rekognition_client(url, "lk_0000000000000000", key["secret_access_key"])
    assert code_of(wrong.list_collections) == "UnrecognizedClientException"
    assert code_of(unknown.list_collections) == "UnrecognizedClientException"


def test_revoked_key_counts_no_longer(keyed: Keyed) -> None:
    key = keyed.make("admin")
    client = keyed.client(key)
    client.list_collections()
    keyed.revoke(key)
    assert code_of(client.list_collections) == "UnrecognizedClientException"


def test_unsigned_request_is_asked_for_a_signature(keyed: Keyed) -> None:
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "RekognitionService.ListCollections",
    }
    refused = httpx.post(keyed.server.url, headers=headers, content=b"{}")
    assert refused.json()["__type"] == "MissingAuthenticationTokenException"
    assert refused.headers["content-type"] == "application/x-amz-json-1.1"


def test_signature_holds_for_the_body_it_was_made_for_alone(keyed: Keyed) -> None:
    request = signed(keyed, b"{}")
    assert send(request, b"{}").status_code == 200
    assert send(request, b'{"MaxResults":1}').json()["__type"] == "UnrecognizedClientException"


def test_signature_of_yesterday_is_refused(keyed: Keyed) -> None:
    now = datetime.now(UTC)
    assert send(signed(keyed, b"{}", now), b"{}").status_code == 200
    old = send(signed(keyed, b"{}", datetime(2026, 1, 1, tzinfo=UTC)), b"{}")
    assert old.json()["__type"] == "UnrecognizedClientException"
    assert "minutes from" in json.loads(old.content)["Message"]


def test_limit_of_a_key_is_used_up_by_its_holder_alone(keyed: Keyed) -> None:
    key = keyed.make("admin", per_s=0.001)
    forged = signed(keyed, b"{}", key=key | {"secret_access_key": "x" * 43})
    for _ in range(3):
        assert send(forged, b"{}").json()["__type"] == "UnrecognizedClientException"
    assert send(signed(keyed, b"{}", key=key), b"{}").status_code == 200
    beyond = send(signed(keyed, b"{}", key=key), b"{}")
    assert (beyond.status_code, beyond.json()["__type"]) == (429, "ThrottlingException")


def test_limit_of_a_key_counts_both_photos_of_a_comparison(keyed: Keyed) -> None:
    client = keyed.client(keyed.make("verify", per_s=0.01))
    client.compare_faces(SourceImage=GRACE, TargetImage=GRACE)
    with pytest.raises(ClientError) as beyond:
        client.detect_faces(Image=GRACE)
    assert beyond.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "200"


def test_key_counts_as_many_signed_requests_at_once_as_it_may(keyed: Keyed) -> None:
    key = keyed.make("admin", at_once=1)
    answers = [send(signed(keyed, b"{}", key=key), b"{}").status_code for _ in range(3)]
    assert answers == [200, 200, 200]


def test_key_of_the_header_does_not_sign(keyed: Keyed) -> None:
    with keyed.server.client() as client:
        form = {"name": "plain", "scopes": ["admin"]}
        header = {"x-api-key": keyed.admin["key"]}
        plain = client.post("/keys", json=form, headers=header).json()
    _, key_id, secret = plain["key"].split("_", 2)
    client = rekognition_client(keyed.server.url, f"lk_{key_id}", secret)
    assert code_of(client.list_collections) == "UnrecognizedClientException"


def test_proof_of_life_that_is_required_is_required_here(tmp_path: Path) -> None:
    wanted = {"LIKENESS_LIVENESS_URL": "http://127.0.0.1:9/", "LIKENESS_LIVENESS_REQUIRED": "true"}
    with open_server(tmp_path, wanted) as aws:
        aws.create_collection(CollectionId="staff")
        assert code_of(aws.detect_faces, Image=GRACE) == "AccessDeniedException"
        index = {"CollectionId": "staff", "Image": GRACE}
        assert code_of(aws.index_faces, **index) == "AccessDeniedException"


def test_consent_that_is_required_is_required_here(tmp_path: Path) -> None:
    with open_server(tmp_path, {"LIKENESS_REQUIRE_CONSENT": "true"}) as aws:
        aws.create_collection(CollectionId="staff")
        with pytest.raises(aws.exceptions.InvalidParameterException, match="consent"):
            aws.index_faces(CollectionId="staff", Image=GRACE)


@contextmanager
def open_server(folder: Path, settings: dict[str, str]) -> Iterator[Any]:
    """Run a server without keys; give a client of it."""
    bundle = str(write_bundle(folder / "tiny"))
    chosen = {"LIKENESS_REKOGNITION": "true", "LIKENESS_BUNDLE": bundle, **settings}
    with running_server("sqlite:///:memory:", chosen) as server:
        yield rekognition_client(server.url)


def test_it_is_not_there_unless_the_settings_say_so(tmp_path: Path) -> None:
    with open_server(tmp_path, {"LIKENESS_REKOGNITION": "false"}) as aws:
        assert code_of(aws.list_collections) == "404"
