"""Run a real Chromium without a window; the tests check that it reaches only the service."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)

from tests.photos import jpeg, open_photo

PATIENCE_MS = 60_000

# The pages show refusals. The browser also logs them, which is not an error of the page.
_REFUSAL = "Failed to load resource: the server responded with a status of"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Pages may use a camera, which plays a file.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


def chromium() -> str | None:
    """Return the path of Chromium, or None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def running_browser(film: Path) -> Iterator[Browser]:
    """Start Chromium; its camera plays a film, which is a file of JPEGs."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = _launch(playwright, (f"--use-file-for-fake-video-capture={film}",))
        yield browser
        browser.close()


def _launch(playwright: Playwright, more: Sequence[str]) -> Browser:
    return playwright.chromium.launch(executable_path=chromium(), args=[*_ARGUMENTS, *more])


@contextmanager
def watched(browser: Browser, url: str) -> Iterator[Page]:
    """Open the pages at `/ui`; errors on them and requests to other hosts fail the test."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    watch = Watch()
    watch.follow(page)
    page.goto(f"{url}/ui")
    yield page
    page.close()
    assert watch.errors == []
    assert watch.origins() == {urlsplit(url).netloc}


def write_film(path: Path) -> Path:
    """Write a film that shows the portrait of Grace Hopper."""
    frame = jpeg(open_photo("grace").resize((512, 600)))
    path.write_bytes(frame * 10)
    return path


@dataclass
class Watch:
    """Record the errors of a page and the URLs of its requests."""

    errors: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def origins(self) -> set[str]:
        """Return the hosts and ports of all requests, without pictures made by the page itself."""
        places = (urlsplit(url) for url in self.urls)
        return {place.netloc for place in places if place.scheme not in ("blob", "data")}

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_REFUSAL):
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        self.urls.append(request.url)
