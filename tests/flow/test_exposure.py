"""What a browser is told with every answer, and what no answer tells anybody."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from service.api.docs import POLICY, render
from service.app import create_app
from service.edge.boundary import SAFE
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.images import encode, picture
from tests.photos import photo_bytes
from tests.server import running_server

# Modules, classes, files, addresses and versions of what it is made of.
LEAKS = re.compile(
    r"Traceback|\bFile \"|\.py\b|/(home|usr|opt|tmp|root|var|etc)\b|site-packages|0x[0-9a-f]{6}"
    r"|\b\w+(Error|Exception|Warning)\b|\b\d+\.\d+\.\d+\b|pydantic|starlette|fastapi|uvicorn"
    r"|httptools|python|pillow|torch|sqlite|numpy",
    re.IGNORECASE,
)
PHOTO = photo_bytes("grace")
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "LIKENESS_BUNDLE": str(write_bundle(folder / "tiny")),
        "LIKENESS_MAX_BODY_BYTES": "2000000",
        "LIKENESS_MAX_BYTES": "1000000",
        "LIKENESS_MAX_PIXELS": "1000000",
    }
    with running_server(folder / "likeness.db", settings) as server, server.client() as client:
        yield client


Request = tuple[str, str, dict[str, object]]


def provocations() -> list[Request]:
    """Return requests that go wrong, each in its own way."""
    flat = encode(picture(), "JPEG")
    deep = "[" * 100_000
    return [
        ("GET", "/nothing/here", {}),
        ("GET", "/subjects/..%2f..%2fetc%2fpasswd", {}),
        ("PUT", "/verify", {}),
        ("GET", "/subjects?limit=x", {}),
        ("GET", "/subjects/nobody", {}),
        ("GET", "/subjects/%ff%fe", {}),
        ("DELETE", "/keys/0", {}),
        ("GET", "/model", {"headers": {"x-api-key": "hunter2"}}),
        ("GET", "/change", {}),
        ("POST", "/change/switch", {"json": {"fingerprint": "x"}}),
        ("POST", "/keys", {"content": deep, "headers": JSON}),
        ("POST", "/keys", {"json": {"name": 1, "scopes": ["root"]}}),
        ("POST", "/keys", {"content": b"\xff", "headers": JSON}),
        ("POST", "/embed", {"content": b"x", "headers": {"content-type": "text/plain"}}),
        ("POST", "/embed", {"content": deep, "headers": JSON}),
        ("POST", "/embed", {"json": {"image": "/etc/passwd", "x": [1], "policy": {}}}),
        ("POST", "/embed", {"files": {"image": b"no photo"}}),
        ("POST", "/embed", {"files": {"image": PHOTO[: len(PHOTO) // 2]}}),
        ("POST", "/embed", {"files": {"image": encode(picture(), "TIFF")[:200]}}),
        ("POST", "/embed", {"files": {"image": encode(picture(1001, 1000), "PNG")}}),
        ("POST", "/embed", {"files": {"image": flat}}),
        ("POST", "/embed", {"files": {"image": bytes(1_000_001)}}),
        ("POST", "/embed", {"files": {"image": bytes(2_000_001)}}),
        ("POST", "/embed", {"files": {"image": PHOTO}, "headers": {"accept": "text/csv"}}),
        ("POST", "/verify", {"data": {"subject": "nobody"}, "files": {"image": PHOTO}}),
        ("POST", "/identify", {"data": {"operating_point": "x"}, "files": {"image": PHOTO}}),
        ("POST", "/enroll", {"data": {"subject": "a/b"}, "files": {"image": PHOTO}}),
        ("POST", "/change/reembed", {"data": {"subject": "a", "template_id": "b"}}),
    ]


@pytest.mark.parametrize("request_", provocations(), ids=lambda each: " ".join(each[:2]))
def test_no_problem_tells_of_the_inside(client: httpx.Client, request_: Request) -> None:
    method, path, options = request_
    response = client.request(method, path, **options)  # type: ignore[arg-type]
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    # Whose name a caller chose is no secret to the caller.
    words = json.dumps([told["detail"], told.get("advice"), told.get("errors")])
    assert LEAKS.findall(words) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/metrics"),
        ("GET", "/model"),
        ("GET", "/subjects"),
        ("GET", "/nothing"),
        ("OPTIONS", "/verify"),
        ("HEAD", "/model"),
        ("POST", "/embed"),
    ],
)
def test_every_answer_carries_safe_headers(client: httpx.Client, method: str, path: str) -> None:
    headers = client.request(method, path).headers
    assert {name: headers.get(name) for name in SAFE} == dict(SAFE)
    assert "server" not in headers
    assert "x-powered-by" not in headers


def test_docs_are_a_page_that_runs_and_fetches_nothing(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == POLICY
    assert "frame-ancestors 'none'" in POLICY
    assert "unsafe" not in POLICY
    links = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", response.text)
    assert {link for link in links if not link.startswith("#")} == {"/openapi.json"}
    assert not re.search(r"<script|<link|<img|<iframe|\son\w+=|\sstyle=", response.text)


def test_docs_explain_every_route_and_every_field() -> None:
    document = create_app(Settings()).openapi()
    page = render(document)
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    for name, schema in document["components"]["schemas"].items():
        assert f'id="{name}"' in page
        assert all(f"<code>{field}</code>" in page for field in schema.get("properties", ()))


def test_docs_escape_what_the_document_says() -> None:
    document = {
        "info": {"title": "<b>", "description": "a `<i>` b"},
        "paths": {},
        "components": {"schemas": {"X": {"properties": {"<p>": {"type": "string"}}}}},
    }
    page = render(document)
    assert "<code>&lt;i&gt;</code>" in page
    assert "&lt;b&gt;" in page
    assert "<p>" not in page.split("<table>")[1]
