"""Paths, queries and HEAD are read exactly, over a real socket."""

from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server

PHOTO = photo_bytes("grace")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "LIKENESS_BUNDLE": str(write_bundle(folder / "tiny")),
        "LIKENESS_COMPREFACE": "true",
        "LIKENESS_REKOGNITION": "true",
    }
    with running_server(folder / "likeness.db", settings) as server:
        yield server


@pytest.fixture(scope="module")
def admin(server: RunningServer) -> Iterator[httpx.Client]:
    """Return a client that shows a key which may do everything; other clients may do nothing."""
    with server.client() as client:
        client.post("/enroll", data={"subject": "ada"}, files={"image": PHOTO})
        form = {"name": "ops", "scopes": ["admin", "verify"]}
        client.headers["x-api-key"] = client.post("/keys", json=form).json()["key"]
        yield client


def raw(server: RunningServer, method: str, target: str, key: str = "") -> tuple[int, str]:
    """Send a request for a path just as it is written; return status and where it is sent on."""
    at = urlsplit(server.url)
    connection = HTTPConnection(str(at.hostname), at.port, timeout=20)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("x-api-key", key)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.getheader("location") or ""
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/subjects/"),
        ("GET", "//subjects"),
        ("GET", "/subjects//ada"),
        ("DELETE", "/subjects/ada/"),
        ("DELETE", "/subjects/ada/templates/"),
        ("DELETE", "/subjects/ada%2ftemplates%2Fx"),
        ("GET", "/subjects/ada%2Fexport"),
        ("POST", "/verify/"),
        ("GET", "/model/"),
        ("GET", "/livez/"),
        ("GET", "/docs/"),
        ("GET", "/ui/"),
        ("GET", "/openapi.json/"),
        ("GET", "/api/v1/recognition/faces/"),
        ("GET", "/nowhere"),
    ],
)
def test_a_slash_too_many_leads_nowhere_with_a_key_and_without(
    server: RunningServer, admin: httpx.Client, method: str, target: str
) -> None:
    for key in ("", "lk_wrong", admin.headers["x-api-key"]):
        assert raw(server, method, target, key) == (404, "")
    assert admin.get("/subjects/ada").status_code == 200


def test_what_there_is_not_is_said_before_keys_and_what_is_stored_is_not(
    server: RunningServer, admin: httpx.Client
) -> None:
    made = admin.post("/keys", json={"name": "door", "scopes": ["verify"]}).json()
    asked = {
        target: [raw(server, method, target, key)[0] for key in ("", made["key"])]
        for method, target in (
            ("GET", "/nowhere"),
            ("PUT", "/subjects/ada"),
            ("POST", "/metrics"),
            ("GET", "/subjects/ada/export"),
            ("GET", "/subjects/nobody/export"),
        )
    }
    assert asked == {
        "/nowhere": [404, 404],
        "/subjects/ada": [405, 405],
        "/metrics": [405, 405],
        "/subjects/ada/export": [401, 403],
        "/subjects/nobody/export": [401, 403],
    }


def test_head_is_answered_as_get_is_but_for_the_body(
    server: RunningServer, admin: httpx.Client
) -> None:
    paths = [
        path.format(subject="ada", key_id="0", template_id="x")
        for path, item in create_app(Settings()).openapi()["paths"].items()
        if "get" in item
    ]
    compat = ["/api/v1/recognition/faces", "/api/v1/recognition/subjects"]
    # Problems in other words.
    compat += ["/api/v1/recognition/nothing", "/api/v1/recognition/faces?page=-1"]
    for path in [*paths, *compat, "/docs", "/openapi.json", "/ui", "/ui/app.js", "/nowhere"]:
        got, head = admin.get(path), admin.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        # What counts requests, or draws, is never of the same length twice.
        if path not in ("/metrics", "/map"):
            assert head.headers["content-length"] == str(len(got.content)), path
        assert admin.get("/livez").status_code == 200  # on the same connection
    assert admin.head("/verify").status_code == 405
    assert admin.put("/subjects/ada").headers["allow"] == "HEAD, GET, DELETE"
    with server.client() as stranger:
        assert stranger.head("/subjects").status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/subjects?after=&limit=",
        "/map?after=&limit=",
        "/audit?after&limit=",
        "/api/v1/recognition/faces?page=&size=&subject=",
    ],
)
def test_a_parameter_without_a_value_is_one_that_was_left_out(
    admin: httpx.Client, path: str
) -> None:
    plain = path.partition("?")[0]
    assert admin.get(path).status_code == admin.get(plain).status_code == 200
    # An empty name does not mean all names.
    faces = "/api/v1/recognition/faces?subject="
    assert (admin.delete(faces).status_code, admin.delete("/subjects?subject=").status_code) == (
        400,
        422,
    )
    photo = {"content-type": "image/jpeg"}
    bare = admin.post("/identify?limit=&operating_point=", content=PHOTO, headers=photo)
    form = admin.post("/identify", data={"limit": "", "policy": ""}, files={"image": PHOTO})
    assert bare.json()["code"] == form.json()["code"] == "uncalibrated"


def test_a_query_that_is_no_text_is_refused(admin: httpx.Client) -> None:
    refused = admin.get("/subjects?after=%ff")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
