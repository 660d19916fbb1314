"""Requests with no key, a wrong key or a key without the scope are refused."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from service.api.needs import NEEDS
from service.app import create_app
from service.cli.app import app as commands
from service.edge.guard import Turnstile, host_of, is_address, is_own_name, is_passed_on
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of
from tests.photos import photo_bytes
from tests.server import running_server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
async def app(bundle: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(store="sqlite:///:memory:", bundle=str(bundle)))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def make(client: httpx.AsyncClient, *scopes: str, **limits: float) -> dict[str, str]:
    """Make the first key; return the header that shows it."""
    form = {"name": "test", "scopes": scopes, **limits}
    response = await client.post("/keys", json=form)
    assert response.status_code == 201, response.text
    return {"x-api-key": response.json()["key"]}


async def code_of(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str] | None = None
) -> str:
    """Return the code of a refusal, or the status of what is none."""
    response = await client.request(method, path, headers=headers)
    return str(response.json().get("code", response.status_code))


async def test_a_refused_request_is_counted_under_the_template_of_its_route(
    client: httpx.AsyncClient,
) -> None:
    admin = await make(client, "admin")
    assert await code_of(client, "GET", "/subjects/ada") == "key_missing"
    page = (await client.get("/metrics", headers=admin)).text
    assert 'likeness_requests_total{code="401",route="/subjects/{subject}"} 1.0' in page


async def test_first_key_closes_the_loopback(client: httpx.AsyncClient) -> None:
    assert await code_of(client, "GET", "/subjects") == "200"
    await make(client, "admin")
    assert await code_of(client, "GET", "/subjects") == "key_missing"


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'likeness.db'}"
    else:
        url = request.getfixturevalue("cluster").new_database()
    return Settings(store=url, bundle=str(bundle), compreface=True, rekognition=True)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def assert_closed(client: httpx.AsyncClient) -> None:
    """Ask without a key, or with one from elsewhere as the guests do."""
    amazon = {"x-amz-target": "RekognitionService.ListCollections"}
    for method, path, headers in (
        ("GET", "/subjects", {}),
        ("GET", "/model", {}),
        ("POST", "/verify", {}),
        ("POST", "/keys", {}),
        ("GET", "/api/v1/recognition/subjects", {"x-api-key": "of another service"}),
        ("POST", "/", amazon),
    ):
        refused = await client.request(method, path, headers=headers)
        assert refused.status_code == (400 if headers is amazon else 401), path
        assert "likeness keys create" in refused.text, path


async def test_last_key_that_is_revoked_leaves_the_service_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(settings) as client:
        shown = await make(client, "admin")
        key_id = shown["x-api-key"].split("_")[1]
        assert (await client.delete(f"/keys/{key_id}", headers=shown)).status_code == 200
        await assert_closed(client)
        assert await code_of(client, "GET", "/subjects", shown) == "key_invalid"
    async with served(settings) as client:
        await assert_closed(client)
    monkeypatch.setenv("LIKENESS_STORE", settings.store)
    monkeypatch.setenv("LIKENESS_BUNDLE", settings.bundle or "")
    words = ("keys", "create", "ops", "--scope", "admin")
    made = (await asyncio.to_thread(likeness, *words)).stdout.strip()
    async with served(settings) as client:
        assert await code_of(client, "GET", "/subjects", {"x-api-key": made}) == "200"


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("likeness.localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("rebound.example.org:8000", False),
        ("localhost.example.org", False),
        ("notlocalhost", False),
        ("10.0.0.7", False),
        ("127.0.0.1.example.org", False),
        ("[::1", False),
        ("", False),
    ],
)
async def test_loopback_without_keys_serves_requests_that_call_it_by_its_name(
    client: httpx.AsyncClient, host: str, is_served: bool
) -> None:
    code = await code_of(client, "GET", "/subjects", {"host": host})
    assert code == ("200" if is_served else "key_missing")


Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serve(bundle: Path) -> Serve:
    """Return what opens an app of the settings given, and gives a client of it."""

    @asynccontextmanager
    async def serve(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        given: dict[str, Any] = {"store": "sqlite:///:memory:", "bundle": str(bundle)} | settings
        app = create_app(Settings(**given))
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client

    return serve


@pytest.mark.parametrize(
    ("host", "on_loopback", "beyond"),
    [
        ("localhost:8000", True, True),
        ("127.0.0.1", True, True),
        ("FACES.example.org.:80", True, True),
        ("rebound.example.org", False, False),
        ("x.faces.example.org", False, False),
        ("10.0.0.7:8000", False, True),
        ("[fd00::7]:8000", False, True),
        ("10.0.0.7.example.org", False, False),
        ("localhost@rebound.example.org", False, False),
        ("", False, False),
    ],
)
async def test_service_that_never_asks_for_keys_answers_to_names_that_it_knows(
    serve: Serve, host: str, on_loopback: bool, beyond: bool
) -> None:
    for listens_at, is_served in (("127.0.0.1", on_loopback), ("0.0.0.0", beyond)):
        known = {"without_keys": True, "host": listens_at, "allowed_hosts": "Faces.example.org"}
        async with serve(**known) as client:
            code = await code_of(client, "GET", "/subjects", {"host": host})
            assert code == ("200" if is_served else "host_not_allowed"), listens_at
            # Probes come by whatever name, and tell no more than to anybody.
            assert (await client.get("/readyz", headers={"host": host})).status_code == 200


async def test_any_name_will_do_where_the_settings_say_so(serve: Serve) -> None:
    async with serve(without_keys=True, allowed_hosts="*") as client:
        assert await code_of(client, "GET", "/subjects", {"host": "rebound.example.org"}) == "200"


@pytest.mark.parametrize("without_keys", [False, True])
@pytest.mark.parametrize(
    "header", ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host"]
)
async def test_proxy_before_a_loopback_without_keys_is_refused_unless_told(
    serve: Serve, header: str, without_keys: bool
) -> None:
    passed_on = {header: "203.0.113.7"}
    async with serve(without_keys=without_keys) as client:
        refused = await client.get("/subjects", headers=passed_on)
        assert (refused.status_code, refused.json()["code"]) == (403, "proxy_not_allowed")
        assert "LIKENESS_BEHIND_PROXY" in refused.json()["detail"]
    async with serve(without_keys=without_keys, behind_proxy=True) as client:
        assert await code_of(client, "GET", "/subjects", passed_on) == "200"


async def test_proxy_before_a_service_with_keys_is_not_refused(
    client: httpx.AsyncClient,
) -> None:
    shown = await make(client, "admin")
    assert await code_of(client, "GET", "/subjects", shown | {"via": "1.1 proxy"}) == "200"


async def test_refusal_says_which_name_needs_no_key(client: httpx.AsyncClient) -> None:
    refused = await client.get("/subjects", headers={"host": "rebound.example.org"})
    assert "`localhost`" in refused.json()["detail"]
    await make(client, "admin")
    assert "`localhost`" not in (await client.get("/subjects")).json()["detail"]


async def test_key_serves_whatever_the_host_is_called(client: httpx.AsyncClient) -> None:
    shown = await make(client, "admin")
    headers = shown | {"host": "likeness.example.org"}
    assert await code_of(client, "GET", "/subjects", headers) == "200"


async def test_refusal_names_the_scheme(client: httpx.AsyncClient) -> None:
    await make(client, "admin")
    response = await client.get("/subjects")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


async def test_key_is_shown_either_way(client: httpx.AsyncClient) -> None:
    shown = await make(client, "admin")
    bearer = {"authorization": f"bearer {shown['x-api-key']}"}
    assert [await code_of(client, "GET", "/subjects", each) for each in (shown, bearer)] == [
        "200",
        "200",
    ]


async def test_wrong_key_is_refused_even_where_none_is_needed(client: httpx.AsyncClient) -> None:
    assert await code_of(client, "GET", "/model", {"x-api-key": "hunter2"}) == "key_invalid"


@pytest.mark.parametrize("path", [path for path, need in NEEDS.items() if not need.is_open])
async def test_route_takes_its_scope_and_no_other(client: httpx.AsyncClient, path: str) -> None:
    admin = await make(client, "admin")
    refused = set()
    for scope in ("verify", "enroll", "embed", "admin"):
        form = {"name": "x", "scopes": [scope]}
        made = await client.post("/keys", json=form, headers=admin)
        shown = {"x-api-key": made.json()["key"]}
        if await code_of(client, "POST", path, shown) == "key_forbidden":
            refused.add(scope)
    needed = NEEDS[path].scope
    everything = {"verify", "enroll", "embed", "admin"}
    assert refused == (set() if needed is None else everything - {needed})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/subjects"),
        ("DELETE", "/subjects/ada"),
        ("GET", "/subjects/ada/export"),
        ("GET", "/keys"),
        ("DELETE", "/keys/0"),
        ("POST", "/change/switch"),
    ],
)
async def test_everything_else_is_the_administrators(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    admin = await make(client, "admin")
    form = {"name": "x", "scopes": ["verify", "enroll", "embed"]}
    made = await client.post("/keys", json=form, headers=admin)
    assert await code_of(client, method, path, {"x-api-key": made.json()["key"]}) == "key_forbidden"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_need_no_key(client: httpx.AsyncClient, path: str) -> None:
    await make(client, "admin")
    assert (await client.get(path)).status_code == 200


async def test_limit_of_a_key_is_a_429_that_says_when(client: httpx.AsyncClient) -> None:
    shown = await make(client, "admin", per_s=1)
    answers = [await client.get("/subjects", headers=shown) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert (answers[1].json()["code"], answers[1].headers["retry-after"]) == ("key_busy", "1")


PHOTO = photo_bytes("grace")
TWO_PHOTOS: dict[str, tuple[str, dict[str, Any]]] = {
    "form": ("/embed", {"files": [("image", PHOTO)] * 2}),
    "JSON": ("/embed", {"json": {"image": [base64.b64encode(PHOTO).decode()] * 2}}),
    "CompreFace": (
        "/api/v1/verification/verify",
        {"files": {"source_image": PHOTO, "target_image": PHOTO}},
    ),
}


@pytest.mark.parametrize("way", TWO_PHOTOS)
async def test_limit_of_a_key_counts_photos_however_they_are_sent(bundle: Path, way: str) -> None:
    settings = Settings(
        store="sqlite:///:memory:", bundle=str(bundle), detector="none", compreface=True
    )
    path, body = TWO_PHOTOS[way]
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        shown = await make(client, "admin", "verify", "embed", at_once=2, per_s=0.01)
        await client.post(path, headers=shown, **body)
        busy = await client.get("/model", headers=shown)
    assert (busy.json()["code"], busy.headers["retry-after"]) == ("key_busy", "200")


@contextmanager
def full(app: FastAPI) -> Iterator[None]:
    """Take all permits until the block ends."""
    with ExitStack() as permits:
        for _ in range(Settings().max_inflight):
            permits.enter_context(app.state.gate.permit())
        yield


async def test_full_service_refuses_before_it_looks_at_keys(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await make(client, "admin")
    with full(app):
        assert await code_of(client, "POST", "/embed") == "too_many_requests"
        assert await code_of(client, "GET", "/subjects") == "key_missing"


async def test_full_service_that_shuts_down_sends_elsewhere(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    with full(app):
        app.state.gate.drain()
        assert await code_of(client, "POST", "/embed") == "draining"


async def test_listed_keys_show_no_secret(client: httpx.AsyncClient) -> None:
    shown = await make(client, "admin")
    listed = await client.get("/keys", headers=shown)
    assert listed.json()["items"][0]["scopes"] == ["admin"]
    assert shown["x-api-key"].split("_", 2)[2] not in listed.text


async def test_unknown_key_cannot_be_revoked(client: httpx.AsyncClient) -> None:
    assert await code_of(client, "DELETE", "/keys/0") == "key_not_found"


def likeness(*words: object) -> Result:
    return CliRunner().invoke(commands, [str(word) for word in words])


def test_key_made_by_the_command_opens_a_server_that_strangers_reach(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "likeness.db"
    monkeypatch.setenv("LIKENESS_BUNDLE", str(bundle))
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{store}")
    key = likeness("keys", "create", "ops", "--scope", "admin", "--scope", "embed").stdout.strip()
    settings = {"LIKENESS_BUNDLE": str(bundle), "LIKENESS_HOST": "0.0.0.0"}
    with running_server(store, settings) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        photo = {"image": photo_bytes("grace")}
        with httpx.Client(base_url=url) as client:
            assert client.post("/embed", files=photo).status_code == 401
            shown = {"authorization": f"Bearer {key}"}
            assert client.post("/embed", files=photo, headers=shown).status_code == 200
        monkeypatch.setenv("LIKENESS_API_KEY", key)
        listed = likeness("keys", "list", "--url", url)
        assert "ops" in listed.output
        key_id = key.split("_")[1]
        assert likeness("keys", "revoke", key_id, "--url", url).exit_code == 0
        assert "not valid" in likeness("keys", "list", "--url", url).stderr


async def test_crowd_begins_a_few_at_a_time_and_in_its_order() -> None:
    turnstile = Turnstile(3)
    begun: list[int] = []

    async def begin(number: int) -> None:
        await turnstile.go_through()
        begun.append(number)

    crowd = [asyncio.create_task(begin(number)) for number in range(20)]
    most, before = 0, 0
    while len(begun) < len(crowd):
        await asyncio.sleep(0)
        most, before = max(most, len(begun) - before), len(begun)
    assert begun == list(range(20))
    assert most == 3


async def test_request_that_leaves_the_queue_does_not_delay_others() -> None:
    turnstile = Turnstile(1)
    first, leaves, last = (asyncio.create_task(turnstile.go_through()) for _ in range(3))
    await first
    leaves.cancel()
    await asyncio.wait_for(last, 5)
    await asyncio.wait_for(turnstile.go_through(), 5)


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        (["localhost:8000"], "localhost"),
        (["Faces.Example.com."], "faces.example.com"),
        (["[::1]:8000"], "::1"),
        ([], ""),
        (["a", "b"], ""),
        (["[::1"], ""),
    ],
)
def test_the_host_is_read_from_a_single_header(headers: list[str], host: str) -> None:
    assert host_of(headers) == host


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "::1"])
def test_names_of_the_loopback_are_its_own(host: str) -> None:
    assert is_own_name(host)


@pytest.mark.parametrize("host", ["localhost.evil.com", "10.0.0.7", ""])
def test_other_names_have_to_be_allowed(host: str) -> None:
    assert [is_own_name(host, allowed) for allowed in ((), (host,), ("*",))] == [False, True, True]


def test_an_address_is_told_from_a_name() -> None:
    assert [is_address(host) for host in ("10.0.0.7", "::1", "localhost")] == [True, True, False]


@pytest.mark.parametrize("name", ["forwarded", "via", "x-real-ip", "x-forwarded-for"])
def test_a_header_of_a_proxy_is_recognised(name: str) -> None:
    assert is_passed_on(["accept", name])
    assert not is_passed_on(["accept"])
