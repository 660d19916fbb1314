"""Only web pages of the allowed origins may call from a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.errors import InvalidSettings
from service.settings import Settings, load_settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of
from tests.photos import photo_bytes

PAGE = "https://app.example.com"
ASK = {"origin": PAGE, "access-control-request-method": "POST"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@asynccontextmanager
async def served(bundle: Path, *origins: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        Settings(
            store="sqlite:///:memory:", bundle=str(bundle), detector="none", cors_origins=origins
        )
    )
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def allowed(response: httpx.Response) -> list[str]:
    return [name for name in response.headers if name.startswith("access-control-allow")]


async def test_no_page_may_call_by_default(bundle: Path) -> None:
    async with served(bundle) as client:
        asked = await client.options("/verify", headers=ASK)
        assert (asked.status_code, asked.json()["code"]) == (405, "method_not_allowed")
        got = await client.get("/model", headers={"origin": PAGE})
        assert [name for name in (*asked.headers, *got.headers) if "access-control" in name] == []


async def test_named_page_may_call_and_read_with_its_key(bundle: Path) -> None:
    async with served(bundle, PAGE) as client:
        form = {"name": "page", "scopes": ["admin"]}
        shown = {"x-api-key": (await client.post("/keys", json=form)).json()["key"]}
        # The question shows no key.
        asked = await client.options(
            "/verify", headers=ASK | {"access-control-request-headers": "x-api-key, content-type"}
        )
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "access-control-allow-credentials" not in asked.headers
        got = await client.get("/model", headers=shown | {"origin": PAGE})
        assert (got.status_code, got.headers["access-control-allow-origin"]) == (200, PAGE)


async def test_form_of_another_page_changes_nothing(bundle: Path) -> None:
    async with served(bundle) as client:

        async def send(origin: str) -> httpx.Response:
            form, photo = {"subject": "eve"}, {"image": photo_bytes("grace")}
            return await client.post("/enroll", data=form, files=photo, headers={"origin": origin})

        refused = await send(PAGE)
        assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
        assert (await send("http://localhost")).status_code == 201


async def test_named_page_can_read_its_refusal(bundle: Path) -> None:
    async with served(bundle, PAGE) as client:
        await client.post("/keys", json={"name": "page", "scopes": ["admin"]})
        got = await client.get("/model", headers={"origin": PAGE})
        assert (got.json()["code"], got.headers["access-control-allow-origin"]) == (
            "key_missing",
            PAGE,
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": PAGE + ".evil.example"},
        {"access-control-request-method": "PUT"},
        {"access-control-request-headers": "x-forwarded-for"},
    ],
    ids=str,
)
async def test_other_questions_get_a_problem(bundle: Path, wrong: dict[str, str]) -> None:
    async with served(bundle, PAGE) as client:
        asked = await client.options("/verify", headers=ASK | wrong)
        assert asked.headers["content-type"] == "application/problem+json"
        assert (asked.status_code, asked.json()["code"]) == (405, "method_not_allowed")
        assert allowed(asked) == []


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CORS_ORIGINS", "https://a.example, http://localhost:3000")
    assert load_settings().cors_origins == ("https://a.example", "http://localhost:3000")


@pytest.mark.parametrize("origin", ["*", "null", "https://*.example.com", "https://a.example/"])
def test_what_is_no_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(InvalidSettings, match="LIKENESS_CORS_ORIGINS"):
        load_settings(cors_origins=origin)
