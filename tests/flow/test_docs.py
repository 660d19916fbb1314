"""What the documentation says is what the code does."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.app import create_app
from service.cli.app import app
from service.schemas.recognition import VerifyAnswer
from service.settings import Settings
from tests.docs import API, README, SECTIONS, section

ROOT = README.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_made_from_code_is_up_to_date(name: str) -> None:
    page, render = SECTIONS[name]
    assert section(page.read_text(), name) == render(), "run python -m tests.docs"


def _named(pattern: str) -> set[str]:
    return {name for page in PAGES for name in re.findall(pattern, page.read_text(), re.MULTILINE)}


def test_every_make_target_the_docs_name_exists() -> None:
    named = _named(r"(?:^|`)(?:[A-Z_]+=\S+ )*make ([a-z]+)")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()


def test_every_command_the_docs_name_exists() -> None:
    named = _named(r"^likeness (\w+)")
    shown = CliRunner().invoke(app, ["--help"]).output
    assert {name for name in named if name not in shown} == set()


@pytest.mark.parametrize("page", [README, API])
def test_every_route_the_pages_name_exists(page: Path) -> None:
    named = set(re.findall(r"`(?:GET|POST)?`? ?`?(?:DELETE )?(/[a-z]+)", page.read_text()))
    assert len(named) > 2
    paths = {"/" + path.split("/")[1] for path in create_app(Settings()).openapi()["paths"]}
    assert named - paths - {"/docs", "/openapi", "/ui"} == set()


def test_every_route_is_named() -> None:
    paths = {"/" + path.split("/")[1] for path in create_app(Settings()).openapi()["paths"]}
    assert {path for path in paths if path not in API.read_text()} == set()


def test_links_inside_the_repository_lead_somewhere() -> None:
    links = [
        (page, *link.partition("#")[::2])
        for page in PAGES
        for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text())
    ]
    dead = [
        (page, link, anchor)
        for page, link, anchor in links
        if not (target := page.parent / link if link else page).exists()
        or (anchor and anchor not in _anchors(target))
    ]
    assert dead == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors that hosting sites give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_only_files_of_the_layout_are_at_top_level() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    top = {Path(name).parts[0] for name in listed if name}
    allowed = {"Dockerfile", "docker-compose.yml", "pyproject.toml", "service", "models", "tests",
               "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
               "Makefile", "deploy"}  # fmt: skip
    assert {name for name in top - allowed if not name.startswith(".")} == set()


def test_every_field_of_a_request_has_an_explanation_or_an_example() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    bare = [
        f"{path}.{name}"
        for path, item in paths.items()
        for content in item.get("post", {}).get("requestBody", {}).get("content", {}).values()
        for name, field in content["schema"].get("properties", {}).items()
        if not {"description", "examples"} & set(field)
    ]
    assert bare == []


def test_the_answer_the_readme_shows_has_the_fields_of_an_answer() -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", README.read_text(), re.DOTALL)[0])
    assert set(shown) - set(VerifyAnswer.model_fields) == set()


def test_every_field_of_an_answer_has_an_explanation_or_an_example() -> None:
    schemas = create_app(Settings()).openapi()["components"]["schemas"]
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        if name.endswith(("Answer", "Image", "Health"))
        for field, value in schema.get("properties", {}).items()
        # A field that is an answer, or takes one of a few words, needs no explanation.
        if not re.search("description|examples|[$]ref|enum|const", str(value))
    ]
    assert bare == []
