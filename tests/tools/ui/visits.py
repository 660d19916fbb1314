"""Do what a visitor of the pages does, with photos that a visitor may have."""

from playwright.sync_api import FilePayload, Page, expect

from tests.images import encode, exif
from tests.photos import mirrored, open_photo, photo_bytes, reencoded, turned
from tests.server import RunningServer


def photo(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


GRACE = photo("grace.jpg", photo_bytes("grace"))
AGAIN = photo("again.jpg", mirrored(reencoded("grace", 300)))
EILEEN = photo("eileen.png", photo_bytes("astronaut"))
SIDEWAYS = photo("sideways.jpg", turned("grace", 1))
WITH_EXIF = photo(
    "exif.jpg", encode(open_photo("grace").rotate(90, expand=True), "JPEG", exif=exif(6))
)
TEXT = photo("text.jpg", b"this is no photo")


def open_page(page: Page, link: str) -> None:
    """Click the link and wait for its page: the page before may have a field of the same name."""
    chosen = page.get_by_role("link", name=link, exact=True)
    chosen.click()
    expect(chosen).to_have_attribute("aria-current", "page")


def compare(page: Page, first: FilePayload, second: FilePayload) -> None:
    for name, each in (("First photo", first), ("Second photo", second)):
        page.get_by_role("group", name=name).locator("input").set_input_files(each)
    page.get_by_role("button", name="Compare", exact=True).click()


def enroll(server: RunningServer, subject: str, *photos: FilePayload) -> None:
    files = [("image", (each["name"], each["buffer"])) for each in photos]
    form = {"subject": subject, "accept_inconsistent": "true"}
    with server.client() as client:
        assert client.post("/enroll", data=form, files=files).is_success


def fill(page: Page, server: RunningServer, name: str) -> None:
    """Open a page and fill it with as much content as possible."""
    page.goto(f"{server.url}/ui#{name}")
    expect(page.locator(f"#{name}")).to_be_visible()
    match name:
        case "compare":
            compare(page, GRACE, AGAIN)
            expect(page.locator("#compare-result dl")).to_be_visible()
        case "enroll":
            page.get_by_role("textbox", name="Name of the subject").fill("axe")
            page.locator("#enroll input[type=file]").set_input_files([GRACE, TEXT])
            page.get_by_role("button", name="Enrol", exact=True).click()
            expect(page.locator("#enroll-result ul").first).to_be_visible()
        case "live":
            page.get_by_role("textbox", name="Name of the subject").fill("axe")
            page.get_by_role("button", name="Start").click()
            expect(page.locator("#live-details dl")).to_be_visible()
        case "gallery":
            page.get_by_role("button", name="axe", exact=True).click()
            page.get_by_role("button", name="Draw a map").click()
            expect(page.locator("#map table")).to_be_visible()
        case _:
            expect(page.locator("#points-table table")).to_be_visible()
