"""Test the pages at `/ui` in a real browser against a real server."""

import re

import pytest
from playwright.sync_api import FilePayload, Page, Request, expect

from tests.server import RunningServer
from tests.tools.ui.visits import (
    AGAIN,
    EILEEN,
    GRACE,
    SIDEWAYS,
    TEXT,
    WITH_EXIF,
    compare,
    enroll,
    open_page,
)

# Return the middle of the pixels in the colour of a box, as fractions of the canvas's size.
BOX = """canvas => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const at = [];
  for (let i = 0; i < data.length; i += 4)
    if (data[i] === 0x5f && data[i + 1] === 0xf0 && data[i + 2] === 0xb4) at.push(i / 4);
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const [x, y] = [middle(at.map((i) => i % width)), middle(at.map((i) => Math.floor(i / width)))];
  return [x / width, y / height];
}"""


def test_two_photos_of_a_person_match_and_both_faces_are_boxed(page: Page) -> None:
    compare(page, GRACE, AGAIN)
    result = page.locator("#compare-result")
    expect(result).to_contain_text("Match")
    expect(result).to_contain_text("1 in 10,000 comparisons of two different people also does")
    expect(page.get_by_role("img", name="face of")).to_have_count(2)


@pytest.mark.parametrize("held", [SIDEWAYS, WITH_EXIF], ids=["unsaid", "by EXIF"])
def test_a_photo_held_sideways_is_shown_upright_with_its_box_in_place(
    page: Page, held: FilePayload
) -> None:
    compare(page, GRACE, held)
    boxed = page.get_by_role("img", name="face of")
    expect(boxed).to_have_count(2)
    upright, shown = (boxed.nth(at).evaluate(BOX) for at in range(2))
    assert shown == pytest.approx(upright, abs=0.05)
    # In Grace Hopper's portrait the face is above the middle.
    assert upright == pytest.approx([0.5, 0.4], abs=0.1)


def test_strangers_do_not_match(page: Page) -> None:
    compare(page, GRACE, EILEEN)
    expect(page.locator("#compare-result .no_match")).to_be_visible()


def test_a_file_that_is_no_photo_is_answered_with_advice(page: Page) -> None:
    compare(page, TEXT, GRACE)
    problem = page.get_by_role("group", name="First photo").locator(".problem")
    expect(problem).to_contain_text("not an image of a known format")
    expect(problem).to_contain_text("Send a JPEG")


@pytest.mark.parametrize("at", [0, 1])
def test_a_problem_is_shown_beside_the_photo_at_fault_until_it_is_another(
    page: Page, at: int
) -> None:
    names = ("First photo", "Second photo")
    groups = [page.get_by_role("group", name=name) for name in names]
    compare(page, *(TEXT if place == at else GRACE for place in range(2)))
    expect(groups[at].locator(".problem")).to_be_visible()
    expect(groups[1 - at].locator(".problem")).to_have_count(0)
    expect(page.locator("#compare-result")).to_contain_text(f"{names[at]}: ")
    groups[at].locator("input").set_input_files(AGAIN)
    expect(groups[at].locator(".problem")).to_have_count(0)


def test_a_missing_photo_is_asked_for_where_it_goes(page: Page) -> None:
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#compare-result")).to_have_text("Choose a photo: first photo.")
    first = page.get_by_role("group", name="First photo")
    expect(first.locator("input")).to_be_focused()


def test_a_photo_can_be_dropped(page: Page) -> None:
    drop = """(host, bytes) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
      host.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
    }"""
    page.get_by_role("group", name="Second photo").evaluate(drop, list(AGAIN["buffer"]))
    expect(page.get_by_role("img", name="dropped.jpg")).to_be_visible()


def test_a_photo_can_be_pasted(page: Page) -> None:
    paste = """(body, bytes) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", { type: "image/jpeg" }));
      body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }"""
    page.locator("body").evaluate(paste, list(AGAIN["buffer"]))
    first = page.get_by_role("group", name="First photo")
    expect(first.get_by_role("img", name="pasted.jpg")).to_be_visible()


def test_a_person_enrolled_with_consent_is_in_the_gallery_until_deleted(page: Page) -> None:
    open_page(page, "Enrol")
    page.get_by_role("textbox", name="Name of the subject").fill("Grace & Hopper")
    page.locator("#enroll input[type=file]").set_input_files([GRACE, TEXT])
    page.get_by_label("Consent").fill("form 12")
    page.get_by_label("Purpose").fill("a test")
    page.get_by_role("button", name="Enrol", exact=True).click()
    report = page.locator("#enroll-result")
    expect(report).to_contain_text("1 of 2 enrolled")
    expect(report).to_contain_text("text.jpg: not enrolled")
    open_page(page, "Gallery")
    page.get_by_role("button", name="Grace & Hopper", exact=True).click()
    expect(page.locator("#gallery-detail")).to_contain_text("form 12")
    page.get_by_role("button", name="Delete Grace & Hopper").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#gallery-detail")).to_contain_text("Receipt")
    expect(page.get_by_role("button", name="Grace & Hopper", exact=True)).to_have_count(0)


def test_a_subject_renamed_in_the_gallery_has_its_new_name_there(
    page: Page, server: RunningServer
) -> None:
    enroll(server, "Grase", GRACE)
    rename(page, "Grase", "Grace & H.")
    expect(page.locator("#gallery-detail h2")).to_have_text("Grace & H.")
    expect(page.get_by_role("button", name="Grace & H.", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Grase", exact=True)).to_have_count(0)


def test_a_name_that_is_taken_is_refused_beside_the_subject(
    page: Page, server: RunningServer
) -> None:
    enroll(server, "first", GRACE)
    enroll(server, "second", AGAIN)
    rename(page, "first", "second")
    detail = page.locator("#gallery-detail")
    expect(detail.locator(".problem")).to_contain_text("subject_exists")
    expect(detail.locator("h2")).to_have_text("first")


def rename(page: Page, subject: str, to: str) -> None:
    open_page(page, "Gallery")
    page.get_by_role("button", name=subject, exact=True).click()
    page.locator("#gallery-detail").get_by_label("Name of the subject").fill(to)
    page.get_by_role("button", name="Rename", exact=True).click()


def test_an_answer_given_in_a_hurry_counts_for_its_own_question(
    page: Page, server: RunningServer
) -> None:
    enroll(server, "hurried", GRACE)
    open_page(page, "Gallery")
    page.get_by_role("button", name="hurried", exact=True).click()
    page.get_by_role("button", name="Delete hurried").evaluate(
        """(button) => {
            const answer = (name) =>
                document.querySelector(`dialog[open] button[value=${name}]`).click();
            button.click();
            answer("no");
            button.click();
            answer("yes");
        }"""
    )
    expect(page.locator("#gallery-detail")).to_contain_text("Receipt")


def test_the_camera_enrols_and_is_verified_live(page: Page, server: RunningServer) -> None:
    open_page(page, "Enrol")
    page.get_by_role("textbox", name="Name of the subject").fill("camera")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the photo").click()
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#enroll-result")).to_contain_text("1 of 1 enrolled")
    open_page(page, "Verify live")
    page.get_by_role("textbox", name="Name of the subject").fill("camera")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#live-decision")).to_have_text("Match")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_live_verification_never_has_two_requests_under_way(
    page: Page, server: RunningServer
) -> None:
    enroll(server, "grace", GRACE)
    under_way: set[Request] = set()
    counts: list[int] = []

    def begun(request: Request) -> None:
        if request.url.endswith("/verify"):
            under_way.add(request)
            counts.append(len(under_way))

    def ended(request: Request) -> None:
        under_way.discard(request)

    page.on("request", begun)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)
    open_page(page, "Verify live")
    page.get_by_role("textbox", name="Name of the subject").fill("grace")
    page.get_by_role("button", name="Start").click()
    for _ in range(3):
        page.wait_for_event("requestfinished", lambda request: request.url.endswith("/verify"))
    open_page(page, "Gallery")
    assert len(counts) >= 3
    assert set(counts) == {1}


def test_an_unknown_subject_ends_live_verification(page: Page) -> None:
    open_page(page, "Verify live")
    page.get_by_role("textbox", name="Name of the subject").fill("nobody")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#live-details")).to_contain_text("subject_not_found")
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_the_map_names_the_nearest_other_subject(page: Page, server: RunningServer) -> None:
    enroll(server, "near", GRACE, AGAIN)
    enroll(server, "nearer", SIDEWAYS)
    enroll(server, "far", EILEEN)
    open_page(page, "Gallery")
    page.get_by_role("button", name="Draw a map").click()
    rows = page.locator("#map tbody tr")
    # A subject of another test may have `far` as its nearest one, in another column.
    subjects = page.locator("#map tbody tr > :first-child")
    expect(subjects.filter(has_text=re.compile(r"^\s*far\s*$"))).to_have_count(1)
    expect(page.locator("#map canvas")).to_be_visible()
    assert "far" not in rows.filter(has_text="nearer").first.locator("td").last.inner_text()


def test_the_threshold_moves_both_rates_against_each_other(page: Page) -> None:
    open_page(page, "Thresholds")
    slider = page.get_by_role("slider", name="Threshold")
    before = rates(slider.get_attribute("aria-valuetext"))
    # If few comparisons of one person fail, one or two steps change nothing.
    for _ in range(10):
        slider.press("ArrowLeft")
    after = rates(slider.get_attribute("aria-valuetext"))
    assert before[0] < after[0]
    assert before[1] > after[1]
    figures = page.locator("#points-figures")
    expect(figures).to_contain_text("errors")
    slider.press("End")
    expect(figures.locator(".unsupported").first).to_contain_text("not supported")


def rates(text: str | None) -> list[float]:
    """Read the two percentages from the text for screen readers."""
    return [float(number) for number in re.findall(r"([\d.]+) %", text or "")]
