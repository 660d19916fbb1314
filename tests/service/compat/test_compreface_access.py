"""Which keys CompreFace's paths need, and which setting serves them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.schemas.requests import SCOPES
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of
from tests.photos import photo_bytes
from tests.service.compat.sdk import ANY_KEY

FACES, SUBJECTS = "/api/v1/recognition/faces", "/api/v1/recognition/subjects"
RECOGNIZE, VERIFY = "/api/v1/recognition/recognize", "/api/v1/verification/verify"
DETECT = "/api/v1/detection/detect"
VECTORS = "/api/v1/recognition/embeddings"
SHOWN = {"x-api-key": ANY_KEY}
ROUTES = [
    ("POST", RECOGNIZE, "verify"),
    ("POST", VERIFY, "verify"),
    ("POST", DETECT, "verify"),
    ("POST", f"{FACES}/id/verify", "verify"),
    ("POST", "/api/v1/verification/embeddings/verify", "verify"),
    ("POST", FACES, "enroll"),
    ("POST", SUBJECTS, "enroll"),
    ("GET", FACES, "admin"),
    ("DELETE", FACES, "admin"),
    ("POST", f"{FACES}/delete", "admin"),
    ("DELETE", f"{FACES}/id", "admin"),
    ("GET", f"{FACES}/id/img", "admin"),
    ("GET", SUBJECTS, "admin"),
    ("PUT", f"{SUBJECTS}/ada", "admin"),
    ("DELETE", f"{SUBJECTS}/ada", "admin"),
    ("DELETE", SUBJECTS, "admin"),
    ("POST", f"{VECTORS}/recognize", "admin"),
    ("POST", f"{VECTORS}/faces/id/verify", "admin"),
]
PHOTO = {"file": photo_bytes("grace")}

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def serve(bundle: Path) -> Serve:
    @asynccontextmanager
    async def serve(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        chosen: dict[str, Any] = {"store": "sqlite:///:memory:", "compreface": True} | settings
        app = create_app(Settings(bundle=str(bundle), **chosen))
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client

    return serve


async def make(client: httpx.AsyncClient, *scopes: str, shown: dict[str, str]) -> dict[str, str]:
    """Make a key; return the header that shows it."""
    response = await client.post("/keys", json={"name": "x", "scopes": scopes}, headers=shown)
    assert response.status_code == 201, response.text
    return {"x-api-key": response.json()["key"]}


async def refusal(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
    """Return status and code of a refusal, or the status of what is none."""
    response = await client.request(method, path, **more)
    if response.is_success:
        return response.status_code
    return response.status_code, response.json()["code"]


async def test_there_is_nothing_unless_it_is_switched_on(serve: Serve) -> None:
    async with serve(compreface=False) as client:
        assert await refusal(client, "GET", SUBJECTS) == (404, "not_found")


async def test_any_key_is_taken_until_there_is_one(serve: Serve) -> None:
    async with serve() as client:
        assert await refusal(client, "GET", SUBJECTS, headers=SHOWN) == 200
        assert await refusal(client, "GET", SUBJECTS) == 200
        admin = await make(client, "admin", shown={})
        assert await refusal(client, "GET", SUBJECTS, headers=SHOWN) == (401, 10)
        assert await refusal(client, "GET", SUBJECTS) == (401, 20)
        assert await refusal(client, "GET", SUBJECTS, headers=admin) == 200


async def test_any_key_is_none_at_our_own_paths(serve: Serve) -> None:
    async with serve() as client:
        assert await refusal(client, "GET", "/subjects", headers=SHOWN) == (401, "key_invalid")


async def test_no_key_of_compreface_s_opens_a_service_that_strangers_reach(serve: Serve) -> None:
    async with serve(host="0.0.0.0") as client:
        assert await refusal(client, "GET", SUBJECTS, headers=SHOWN) == (401, 10)
        assert await refusal(client, "GET", SUBJECTS) == (401, 20)


async def test_every_route_takes_its_scope_and_no_other(serve: Serve) -> None:
    async with serve() as client:
        admin = await make(client, "admin", shown={})
        keys = {scope: await make(client, scope, shown=admin) for scope in SCOPES}
        for method, path, needed in ROUTES:
            answers = {
                scope: await refusal(client, method, path, headers=shown)
                for scope, shown in keys.items()
            }
            refused = {scope for scope, answer in answers.items() if answer == (403, 10)}
            assert refused == set(SCOPES) - {needed}, (method, path)


async def test_vectors_are_given_to_keys_that_may_embed_alone(serve: Serve) -> None:
    async with serve() as client:
        admin = await make(client, "admin", shown={})
        verifier = await make(client, "verify", shown=admin)
        both = await make(client, "verify", "embed", shown=admin)
        request = {"params": {"face_plugins": "calculator"}, "files": PHOTO}
        assert await refusal(client, "POST", DETECT, headers=verifier, **request) == (403, 10)
        assert await refusal(client, "POST", DETECT, headers=both, **request) == 200


async def test_nothing_is_recognized_where_proof_of_life_is_wanted(serve: Serve) -> None:
    wanted = {"liveness_url": "http://127.0.0.1:9/", "liveness_required": True}
    async with serve(**wanted) as client:
        for path in (RECOGNIZE, f"{FACES}/id/verify", DETECT, VERIFY, f"{FACES}?subject=ada"):
            assert await refusal(client, "POST", path, files=PHOTO) == (400, 26)
        vectors = {"embeddings": [[1.0] * 16]}
        assert await refusal(client, "POST", f"{VECTORS}/recognize", json=vectors) == (400, 26)


async def test_consent_that_is_required_is_required_here(serve: Serve) -> None:
    async with serve(require_consent=True) as client:
        path = f"{FACES}?subject=ada"
        assert (await refusal(client, "POST", path, files=PHOTO))[0] == 400


async def test_photos_that_are_not_kept_are_not_found(serve: Serve) -> None:
    async with serve() as client:
        added = await client.post(FACES, params={"subject": "ada"}, files=PHOTO)
        path = f"{FACES}/{added.json()['image_id']}/img"
        assert await refusal(client, "GET", path) == (404, 11)


async def test_full_service_says_when_to_come_back(serve: Serve) -> None:
    async with serve(max_queue=1, max_batch=1, queue_timeout_s=0.000001) as client:
        response = await client.post(RECOGNIZE, files=PHOTO)
        assert response.status_code == 504
        assert response.json()["code"] == 41


async def test_bundle_without_operating_points_has_a_scale_all_the_same(serve: Serve) -> None:
    async with serve() as client:
        photos = {"source_image": PHOTO["file"], "target_image": PHOTO["file"]}
        (answer,) = (await client.post(VERIFY, files=photos)).json()["result"]
        assert answer["face_matches"][0]["similarity"] == 1.0
