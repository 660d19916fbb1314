"""A picture of the pages: two photos compared (`python -m tests.tools.screenshot FILE.png`).

It shows the two public-domain photos of the tests, so it may be shown anywhere.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.server import running_server
from tests.tools.ui.browser import PATIENCE_MS, running_browser, watched, write_film
from tests.tools.ui.visits import EILEEN, GRACE, compare


def take(page: Page, path: Path) -> None:
    """Compare two photos and write what is seen then."""
    page.set_viewport_size({"width": 760, "height": 980})
    compare(page, GRACE, EILEEN)
    expect(page.locator("#compare-result dl")).to_be_visible(timeout=PATIENCE_MS)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=True)


def main() -> None:
    """Start a server and a browser, and write the picture."""
    path = Path(sys.argv[1])
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server("sqlite:///:memory:") as server,
        running_browser(write_film(Path(folder) / "grace.mjpeg")) as browser,
        watched(browser, server.url) as page,
    ):
        take(page, path)
    print(path)


if __name__ == "__main__":
    main()
