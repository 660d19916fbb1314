"""Every route accepts the same names: visible, usable in a URL, and in one normal form."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.contracts.store.samples import template
from tests.in_process import client_of
from tests.photos import photo_bytes

PHOTO = photo_bytes("grace")
FACES, SUBJECTS = "/api/v1/recognition/faces", "/api/v1/recognition/subjects"
ENROLLED = {"subject": "ada"}
JPEG = {"content-type": "image/jpeg"}
AWS = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "RekognitionService."}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
async def app(bundle: str) -> AsyncIterator[FastAPI]:
    app = create_app(
        Settings(store="sqlite:///:memory:", bundle=bundle, compreface=True, rekognition=True)
    )
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


def entrances(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return a request for each route that can store an id."""
    target = AWS | {"x-amz-target": "RekognitionService.CreateCollection"}
    return [
        ("POST", "/enroll", {"data": {"subject": name}, "files": {"image": PHOTO}}),
        ("POST", "/enroll", {"data": {"template_id": name} | ENROLLED, "files": {"image": PHOTO}}),
        ("POST", "/enroll", {"json": {"subject": name, "image": "AAAA"}}),
        ("POST", "/enroll", {"params": {"subject": name}, "content": PHOTO, "headers": JPEG}),
        ("POST", "/subjects/ada/rename", {"json": {"to": name}}),
        ("POST", FACES, {"params": {"subject": name}, "files": {"file": PHOTO}}),
        ("POST", SUBJECTS, {"json": {"subject": name}}),
        ("PUT", f"{SUBJECTS}/ada", {"json": {"subject": name}}),
        ("POST", "/", {"json": {"CollectionId": name}, "headers": target}),
    ]


NOT_IN_URLS = [".", "..", "a/b"]
NOT_SEEN = ["a\x00", "a\x85", "a\u200bda", "\u200fada", " ada", "ada\u3000", "\ue000"]


@pytest.mark.parametrize("name", [*NOT_IN_URLS, *NOT_SEEN])
async def test_invalid_name_is_refused_by_every_route(
    app: FastAPI, client: httpx.AsyncClient, name: str
) -> None:
    await app.state.service.store.enroll("ada", [template("ada")])
    for method, path, options in entrances(name):
        answer = await client.request(method, path, **options)
        assert answer.status_code in (400, 422), (method, path, answer.text)
        # Template ids and collections have stricter rules; the same answer states them.
        words = answer.text
        assert "cannot be names" in words or "Leave out" in words or "pattern" in words, words
    assert [each["subject"] for each in (await client.get("/subjects")).json()["items"]] == ["ada"]


@pytest.mark.parametrize("name", ["...", "..a", ".hidden", "a\\b", "100%", "a?b#c", "José & 李"])
async def test_every_valid_name_can_be_read_and_deleted_by_its_url(
    client: httpx.AsyncClient, name: str
) -> None:
    renamed = {"to": name}
    await client.post("/enroll", data=ENROLLED, files={"image": PHOTO})
    assert (await client.post("/subjects/ada/rename", json=renamed)).status_code == 200
    path = f"/subjects/{quote(name, safe='')}"
    assert (await client.get(path)).json()["subject"] == name
    assert (await client.delete(path)).json()["subjects"] == 1


COMPOSED, DECOMPOSED = "Jos\u00e9 \u00c5", "Jose\u0301\u00a0\u212b"


def ways_to_name_a_subject(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return requests that find a subject; the last one deletes it."""
    path = quote(name, safe="")
    photo = {"files": {"image": PHOTO}}
    return [
        ("POST", "/enroll", {"data": {"subject": name}, **photo}),
        ("POST", "/enroll", {"params": {"subject": name}, "content": PHOTO, "headers": JPEG}),
        ("POST", "/verify", {"data": {"subject": name, "threshold": "0"}, **photo}),
        ("GET", f"/subjects/{path}", {}),
        ("GET", f"/subjects/{path}/export", {}),
        ("POST", FACES, {"params": {"subject": name}, "files": {"file": PHOTO}}),
        ("GET", FACES, {"params": {"subject": name}}),
        ("POST", f"/subjects/{path}/rename", {"json": {"to": "ada"}}),
        ("POST", "/subjects/ada/rename", {"json": {"to": name}}),
        ("PUT", f"{SUBJECTS}/{path}", {"json": {"subject": "ada"}}),
        ("PUT", f"{SUBJECTS}/ada", {"json": {"subject": name}}),
        ("DELETE", f"/subjects/{path}", {}),
    ]


async def test_both_forms_of_a_name_mean_one_subject_on_every_route(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/enroll", data={"subject": COMPOSED}, files={"image": PHOTO})
    for method, path, options in ways_to_name_a_subject(DECOMPOSED):
        answer = await client.request(method, path, **options)
        assert answer.is_success, (method, path, answer.text)
        listed = (await client.get("/subjects")).json()["items"]
        assert [each["subject"] for each in listed] in ([COMPOSED], ["ada"], []), (method, path)
    assert listed == []


async def test_names_of_keys_are_normalised_too(client: httpx.AsyncClient) -> None:
    form = {"name": DECOMPOSED, "scopes": ["admin"]}
    assert (await client.post("/keys", json=form)).json()["name"] == COMPOSED


async def test_name_of_an_earlier_release_is_found_by_its_own_characters(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    store = app.state.service.store
    for name in (COMPOSED, DECOMPOSED, " ada"):
        await store.enroll(name, [template(name)])
        found = await client.get(f"/subjects/{quote(name, safe='')}")
        assert found.json()["subject"] == name
    renamed = await client.post(
        f"/subjects/{quote(DECOMPOSED, safe='')}/rename", json={"to": "other"}
    )
    assert renamed.json()["subject"] == "other"
    left = (await client.get(f"/subjects/{quote(DECOMPOSED, safe='')}")).json()
    assert left["subject"] == COMPOSED


async def test_ids_of_earlier_releases_can_be_erased(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    store = app.state.service.store
    await store.enroll("..", [template("one")])
    await store.enroll("ada", [template("two", "."), template("three", "..")])
    for template_id in (".", ".."):
        left = await client.delete("/subjects/ada/templates", params={"template_id": template_id})
        assert left.json()["templates"] == 1
    gone = {"subject": ".."}
    assert (await client.delete("/subjects", params=gone)).json()["subjects"] == 1
    assert (await client.delete("/subjects", params=gone)).json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    "target", ["/subjects", "/subjects?subject=", "/subjects/ada/templates?template_id="]
)
async def test_unknown_name_erases_nothing(
    app: FastAPI, client: httpx.AsyncClient, target: str
) -> None:
    await app.state.service.store.enroll("ada", [template("ada")])
    assert (await client.delete(target)).json()["code"] == "invalid_request"
    assert (await client.get("/subjects/ada")).status_code == 200
