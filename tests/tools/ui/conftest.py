"""Share a server and a browser among the tests of the pages."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.server import RunningServer, running_server
from tests.tools.ui.browser import chromium, running_browser, watched, write_film


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("there is no Chromium here")
    film = write_film(tmp_path_factory.mktemp("camera") / "grace.mjpeg")
    with running_browser(film) as browser:
        yield browser


@pytest.fixture(scope="package")
def server() -> Iterator[RunningServer]:
    with running_server("sqlite:///:memory:") as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: RunningServer) -> Iterator[Page]:
    """Open the pages; any error on them fails the test."""
    with watched(browser, server.url) as page:
        yield page
