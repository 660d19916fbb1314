"""Liveness tokens are checked by a service of the operator."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.app import create_app
from service.errors import InvalidSettings
from service.observe.metrics import Metrics
from service.settings import Settings, load_settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of
from tests.photos import photo_bytes
from tests.service.serving import serving

GRACE = photo_bytes("grace")
LIVE = {"liveness_token": "living"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


class LivenessServer:
    """Act as the operator's liveness service; record every request. The token decides."""

    def __init__(self) -> None:
        self.questions: list[dict[str, object]] = []
        self.headers: list[Mapping[str, str]] = []
        self.over = asyncio.Event()
        self.app = FastAPI()
        self.app.post("/check")(self.check)

    async def check(self, request: Request) -> Response:
        question = await request.json()
        self.questions.append(question)
        self.headers.append(request.headers)
        match question["token"]:
            case "slow":
                await self.over.wait()
            case "elsewhere":
                return Response(status_code=307, headers={"location": "/check"})
            case "broken":
                return Response(status_code=500)
            case "vague":
                return Response('{"live": "yes"}', media_type="application/json")
            case "talkative":
                return Response(b" " * 2**20 + b'{"live": true}')
        live = "true" if question["token"].startswith("living") else "false"
        return Response(f'{{"live": {live}, "why": "x"}}', media_type="application/json")


@asynccontextmanager
async def open_client(
    bundle: Path, url: str | None, *, required: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate(
        {
            "store": "sqlite:///:memory:",
            "bundle": str(bundle),
            "detector": "none",
            "liveness_url": url,
            "liveness_required": required,
            "liveness_timeout_s": 0.5,
        }
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.fixture
async def server() -> LivenessServer:
    return LivenessServer()


@pytest.fixture
async def url(server: LivenessServer) -> AsyncIterator[str]:
    async with serving(server.app, Metrics()) as url:
        yield f"{url}/check"
        server.over.set()


@pytest.fixture
async def client(bundle: Path, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(bundle, url) as client:
        yield client


async def enroll(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    form = {"subject": "grace", **fields}
    return await client.post("/enroll", data=form, files={"image": GRACE})


async def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_living_person_is_enrolled_verified_and_identified(client: httpx.AsyncClient) -> None:
    assert (await enroll(client, **LIVE)).json()["liveness"] == "passed"
    photo = {"image": base64.b64encode(GRACE).decode(), "threshold": 0.5} | LIVE
    verified = await client.post("/verify", json={"subject": "grace", **photo})
    identified = await client.post("/identify", json=photo)
    assert [verified.json()["liveness"], identified.json()["liveness"]] == ["passed"] * 2


async def test_photo_of_no_living_person_is_refused_and_not_stored(
    client: httpx.AsyncClient,
) -> None:
    assert await code(await enroll(client, liveness_token="dead")) == (403, "not_live")
    assert (await client.get("/subjects")).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/enroll", {"subject": "grace"}),
        ("/verify", {"subject": "grace", "threshold": "0.5"}),
        ("/identify", {"threshold": "0.5"}),
    ],
)
async def test_missing_token_is_refused(
    client: httpx.AsyncClient, server: LivenessServer, path: str, fields: dict[str, str]
) -> None:
    response = await client.post(path, data=fields, files={"image": GRACE})
    assert await code(response) == (422, "liveness_token_needed")
    assert server.questions == []


async def test_token_is_optional_unless_required(bundle: Path, url: str) -> None:
    async with open_client(bundle, url, required=False) as client:
        assert (await enroll(client)).json()["liveness"] == "not_checked"
        assert await code(await enroll(client, liveness_token="dead")) == (403, "not_live")


async def test_nothing_is_checked_without_a_liveness_service(bundle: Path) -> None:
    async with open_client(bundle, None, required=False) as client:
        assert (await enroll(client, **LIVE)).json()["liveness"] == "not_checked"


async def test_only_digests_of_photos_are_sent(
    client: httpx.AsyncClient, server: LivenessServer
) -> None:
    first, second = GRACE, photo_bytes("astronaut")
    response = await client.post(
        "/verify",
        data={"threshold": "0.5", **LIVE},
        files={"source_image": first, "target_image": second},
        headers={"x-request-id": "trace-7"},
    )
    assert response.status_code == 200
    assert server.questions == [
        {
            "token": "living",
            "image_sha256": [hashlib.sha256(photo).hexdigest() for photo in (first, second)],
            "route": "/verify",
            "request_id": "trace-7",
        }
    ]


@pytest.mark.parametrize("token", ["slow", "elsewhere", "broken", "vague", "talkative"])
async def test_request_without_a_verdict_is_refused(client: httpx.AsyncClient, token: str) -> None:
    response = await enroll(client, liveness_token=token)
    assert await code(response) == (503, "liveness_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await client.get("/subjects")).json()["items"] == []


async def test_unreachable_liveness_service_refuses_requests(bundle: Path) -> None:
    async with open_client(bundle, "http://127.0.0.1:1/check") as client:
        assert await code(await enroll(client, **LIVE)) == (503, "liveness_unavailable")


async def test_checks_are_counted_by_outcome(client: httpx.AsyncClient) -> None:
    for token in ("living", "dead", "broken"):
        await enroll(client, liveness_token=token)
    await enroll(client)
    shown = (await client.get("/metrics")).text
    for outcome in ("passed", "failed", "unavailable", "token_missing"):
        assert f'likeness_liveness_total{{outcome="{outcome}"}} 1.0' in shown


async def test_password_in_the_url_is_sent_in_a_header_and_never_logged(
    bundle: Path, url: str, server: LivenessServer, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = url.replace("http://", "http://likeness:hunter2@")
    with caplog.at_level("DEBUG"):
        async with open_client(bundle, guarded) as client:
            assert (await enroll(client, **LIVE)).status_code == 201
            await enroll(client, liveness_token="broken")
    basic = base64.b64encode(b"likeness:hunter2").decode()
    assert server.headers[0]["authorization"] == f"Basic {basic}"
    assert not any(secret in caplog.text for secret in ("hunter2", basic, "living"))


async def test_repeated_request_may_have_a_new_token(
    client: httpx.AsyncClient, server: LivenessServer
) -> None:
    async def send(token: str) -> httpx.Response:
        return await client.post(
            "/enroll",
            data={"subject": "grace", "liveness_token": token},
            files={"image": GRACE},
            headers={"idempotency-key": "once"},
        )

    tokens = ("living once", "living twice")
    first, second = [(await send(token)).json() for token in tokens]
    assert first["images"] == second["images"]


async def test_length_of_a_token_is_limited(client: httpx.AsyncClient) -> None:
    assert await code(await enroll(client, liveness_token="x" * 4097)) == (422, "invalid_request")


def test_required_tokens_need_a_liveness_service() -> None:
    with pytest.raises(InvalidSettings, match="LIKENESS_LIVENESS_URL"):
        load_settings(liveness_required=True)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "check"])
def test_liveness_url_must_be_http(url: str) -> None:
    with pytest.raises(InvalidSettings, match="LIVENESS_URL"):
        load_settings(liveness_url=url)
