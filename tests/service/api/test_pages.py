"""The pages are static files, open to all clients, with a strict content policy."""

import re
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from service.api.pages import NAMES, PATHS, POLICY
from service.app import create_app
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.in_process import client_of

PAGES = sorted(PATHS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
async def closed(bundle: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client without a key of a service that needs one."""
    app = create_app(Settings(store="sqlite:///:memory:", bundle=str(bundle), host="0.0.0.0"))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def test_the_pages_need_no_key_and_what_they_call_does(closed: httpx.AsyncClient) -> None:
    assert {(await closed.get(path)).status_code for path in PAGES} == {200}
    for path in ("/map", "/subjects", "/model"):
        assert (await closed.get(path)).json()["code"] == "key_missing"


async def test_nothing_beside_the_listed_files_is_served(closed: httpx.AsyncClient) -> None:
    for path in ("/ui/index.html", "/ui/../app.py", "/ui/%2e%2e/app.py", "/ui/none.js"):
        assert (await closed.get(path)).status_code == 404


async def test_a_file_that_is_known_is_not_sent_again(closed: httpx.AsyncClient) -> None:
    first = await closed.get("/ui/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await closed.get("/ui/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await closed.get("/ui/app.js", headers={"if-none-match": '"another"'})
    assert other.content == first.content


async def test_the_policy_lets_no_foreign_and_no_inline_code_run(closed: httpx.AsyncClient) -> None:
    for path in PAGES:
        headers = (await closed.get(path)).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


async def test_the_camera_is_for_the_pages_alone(closed: httpx.AsyncClient) -> None:
    assert "camera=(self)" in (await closed.get("/ui")).headers["permissions-policy"]
    assert "permissions-policy" not in (await closed.get("/docs")).headers


async def test_the_setting_takes_the_pages_away(bundle: Path) -> None:
    app = create_app(Settings(store="sqlite:///:memory:", bundle=str(bundle), ui=False))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/ui")).json()["code"] == "not_found"


def texts() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        yield name, (files("service.api") / "ui" / name).read_text()


def test_every_file_is_listed() -> None:
    assert sorted(each.name for each in (files("service.api") / "ui").iterdir()) == sorted(NAMES)


def test_no_file_names_another_host_or_makes_markup_of_text() -> None:
    allowed = "http://www.w3.org/2000/svg"  # the name of a namespace, which nobody fetches
    for name, text in texts():
        assert set(re.findall(r"""https?://[^"'\s)]+""", text)) <= {allowed}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_the_page_has_no_script_and_no_style_in_it() -> None:
    page = dict(texts())["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_no_file_is_two_ideas() -> None:
    assert {name for name, text in texts() if len(text.splitlines()) > 300} == set()
