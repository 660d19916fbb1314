"""The numerics know nothing of the service, and no file is two ideas."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODELS = sorted((ROOT / "models").rglob("*.py"))
SERVICE = sorted((ROOT / "service").rglob("*.py"))
FORBIDDEN = {"service", "fastapi", "starlette", "uvicorn", "asyncio", "httpx", "sqlite3"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules and objects that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def environment_reads(tree: ast.AST) -> list[str]:
    """Return what of `os.environ`, `os.getenv` and the like a file touches."""
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    names = [name.rpartition(".")[2] for name in imports(tree)]
    return [name for name in (*attributes, *names) if name in {"environ", "environb", "getenv"}]


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_the_numerics_import_no_service_and_nothing_it_is_made_of(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_the_numerics_read_no_environment_variable(path: Path) -> None:
    assert environment_reads(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", [*MODELS, *SERVICE], ids=named)
def test_no_file_exceeds_600_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", [*MODELS, *SERVICE], ids=named)
def test_sources_import_no_tests(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert not roots & {"tests", "pytest", "unittest"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['A']", ["environ"]),
        ("import os\nos.getenv('A')", ["getenv"]),
        ("from os import environ as e", ["environ"]),
        ("import os.path", []),
    ],
)
def test_reads_of_the_environment_are_recognised(source: str, found: list[str]) -> None:
    assert environment_reads(ast.parse(source)) == found


@pytest.mark.parametrize(
    "source", ["import service.app", "from service import app", "def f():\n import service"]
)
def test_imports_of_the_service_are_recognised(source: str) -> None:
    assert "service" in {name.partition(".")[0] for name in imports(ast.parse(source))}
