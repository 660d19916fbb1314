"""Test that the pages work by keyboard, by screen reader, on a phone and with a key."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.server import RunningServer, running_server
from tests.tools.ui.browser import watched
from tests.tools.ui.visits import GRACE, enroll, fill, open_page

PAGES = ("compare", "enroll", "live", "gallery", "points")


def test_everything_can_be_done_by_keyboard(page: Page, server: RunningServer) -> None:
    enroll(server, "0 by keyboard", GRACE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    tab_to(page, "Gallery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Gallery")).to_be_focused()
    expect(page.get_by_role("button", name="0 by keyboard")).to_be_visible()
    tab_to(page, "0 by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="0 by keyboard")).to_be_focused()
    tab_to(page, "Delete 0 by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete 0 by keyboard")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Erased: 0 by keyboard")).to_be_focused()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(":focus").inner_text() == name:
            return
    raise AssertionError(f"Tab never comes to {name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(
    page: Page, server: RunningServer, name: str, scheme: Literal["light", "dark"]
) -> None:
    enroll(server, "axe", GRACE)
    page.emulate_media(color_scheme=scheme)
    fill(page, server, name)
    found = Axe().run(page).response["violations"]
    assert [each["help"] for each in found if each["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_downwards_only(page: Page, server: RunningServer, name: str) -> None:
    enroll(server, "axe", GRACE)
    page.set_viewport_size({"width": 360, "height": 740})
    fill(page, server, name)
    assert page.locator("html").evaluate("html => html.scrollWidth") == 360


def test_a_key_is_required_and_kept_for_this_tab_only(browser: Browser) -> None:
    with running_server("sqlite:///:memory:") as server, watched(browser, server.url) as page:
        with server.client() as client:
            form = {"name": "ui", "scopes": ["admin", "verify"]}
            key = client.post("/keys", json=form).json()["key"]
        open_page(page, "Gallery")
        expect(page.locator("#gallery-list")).to_contain_text("key_missing")
        page.get_by_label("Key", exact=True).fill(f"{key}x")
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.locator("#key-status")).not_to_have_text("This key is valid.")
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#key-status")).to_have_text("This key is valid.")
        expect(page.locator("#gallery-status")).to_have_text("No person is enrolled.")
        assert key not in page.url
        assert page.evaluate("() => localStorage.length") == 0
        page.reload()
        expect(page.locator("#gallery-status")).to_have_text("No person is enrolled.")
        page.locator("summary").click()
        page.get_by_role("button", name="Forget").click()
        assert page.evaluate("() => sessionStorage.length") == 0
