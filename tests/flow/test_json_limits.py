"""Whatever route JSON is sent to, the one reader of JSON sees it first."""

from collections.abc import Iterator
from time import perf_counter

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.app import create_app
from service.compat.rekognition.routes import OPERATIONS
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.server import running_server

GUESTS = {"LIKENESS_COMPREFACE": "true", "LIKENESS_REKOGNITION": "true"}
# What each is refused for, in the words of the one reader.
HOSTILE = {
    "same name twice": b'{"name": "a", "scopes": ["verify"], "scopes": ["admin"]}',
    "more than 10000 values": b'{"scopes":[' + b"[]," * 300_000 + b"1]}",
    "nested too deeply": b'{"scopes":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "more than 20 digits": b'{"scopes":' + b"9" * 900_000 + b"}",
    "contains NaN": b'{"scopes": NaN}',
    "not valid UTF-8": b'{"scopes": "\xff"}',
}
_WITHOUT_BODY = {("POST", "/reseal")}
_MOST_WITH_PHOTOS, _MOST_WITHOUT = 2**21, 2**20
# Those that take photos, and a field of each that is no list.
_SINGLE_FIELDS = {
    "/enroll": "subject",
    "/verify": "subject",
    "/identify": "limit",
    "/embed": "output",
    "/change/reembed": "subject",
    "/api/v1/recognition/recognize": "file",
    "/api/v1/recognition/faces": "file",
    "/api/v1/recognition/faces/{image_id}/verify": "file",
    "/api/v1/detection/detect": "file",
    "/api/v1/verification/verify": "source_image",
}
# Reading what is good takes as long on a slow machine.
SECONDS = 2.0


def every_request() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield method, path and headers of all that takes a body, the guests' included."""
    app = create_app(Settings(compreface=True, rekognition=True))
    for route in iter_route_contexts(app.routes):
        for method in {"POST", "PUT", "PATCH"} & set(route.methods or ()):
            if (method, route.path) in _WITHOUT_BODY:
                continue
            if route.path != "/":
                yield method, str(route.path), {"content-type": "application/json"}
                continue
            for name in OPERATIONS:
                target = {"x-amz-target": f"RekognitionService.{name}"}
                yield method, "/", {"content-type": "application/x-amz-json-1.1", **target}


REQUESTS = [
    pytest.param(*request, id=" ".join((*request[:2], request[2].get("x-amz-target", ""))).strip())
    for request in every_request()
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "LIKENESS_BUNDLE": str(write_bundle(folder / "tiny")),
        "LIKENESS_MAX_BODY_BYTES": str(_MOST_WITH_PHOTOS),
        **GUESTS,
    }
    with running_server(folder / "likeness.db", settings) as server, server.client() as client:
        yield client


def refusal(client: httpx.Client, method: str, path: str, **sent: object) -> tuple[int, str]:
    """Return the status of a refusal and its sentence, whoever's words it is in."""
    path = path.format(subject="x", image_id="x", template_id="x", key_id="x")
    began = perf_counter()
    answer = client.request(method, f"{path}?subject=x", **sent)  # type: ignore[arg-type]
    assert perf_counter() - began < SECONDS
    told = answer.json()
    return answer.status_code, told.get("detail") or told.get("message") or told["Message"]


@pytest.mark.parametrize(("method", "path", "headers"), REQUESTS)
def test_json_that_is_more_work_than_it_looks_is_refused_at_every_route(
    client: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    for reason, body in HOSTILE.items():
        status, words = refusal(client, method, path, headers=headers, content=body)
        assert status in (400, 422)
        assert reason in words


@pytest.mark.parametrize(("method", "path", "headers"), REQUESTS)
def test_no_route_takes_more_bytes_than_it_has_a_use_for(
    client: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    with_photos = path in _SINGLE_FIELDS or (
        operation in {"CompareFaces", "DetectFaces", "IndexFaces", "SearchFacesByImage"}
    )
    most = _MOST_WITH_PHOTOS if with_photos else _MOST_WITHOUT
    body = b'{"to":"' + b"a" * most + b'"}'
    status, words = refusal(client, method, path, headers=headers, content=body)
    assert status in (400, 413)
    assert f"more than {most} bytes" in words


@pytest.mark.parametrize(("path", "field"), _SINGLE_FIELDS.items())
def test_form_that_gives_a_field_twice_is_refused_at_every_route(
    client: httpx.Client, path: str, field: str
) -> None:
    status, words = refusal(client, "POST", path, files=[(field, (None, "5"))] * 2)
    assert status in (400, 422)
    assert words.startswith(f"{field}: Is given more than once")


def test_service_that_refused_all_this_answers(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/keys").json() == {"items": []}
