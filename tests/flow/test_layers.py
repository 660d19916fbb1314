"""The rooms of the house: what may import what, and how many there are."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODELS = sorted((ROOT / "models").rglob("*.py"))
SERVICE = sorted((ROOT / "service").rglob("*.py"))
# The two folders themselves hold a docstring and a version.
TOPS = {ROOT / "models" / "__init__.py", ROOT / "service" / "__init__.py"}
IN_ROOMS = [path for path in (*MODELS, *SERVICE) if path not in TOPS]
FORBIDDEN = {"service", "fastapi", "starlette", "uvicorn", "asyncio", "httpx", "sqlite3"}

# The highest room first. A room imports from the rooms below it, not from those above or beside it.
FLOORS = (
    {"service.__main__"},
    {"service.cli"},
    {"service.app"},
    {"service.compat"},
    {"service.api"},
    {"service.edge", "service.recognition", "service.bulk"},
    {"service.store", "service.pipeline"},
    {"service.observe"},
    {"service.settings"},
    {"service.client"},
    {"service.schemas", "service.errors"},
    {"models.train", "models.evaluate", "models.distill"},
    {"models.training"},
    {"models.evaluation"},
    {"models.datasets"},
    {"models.embedder"},
    {"models.bundle"},
    {"models.encoder"},
    {"models.photo"},
    {"models.decision", "models.cohort", "models.weights"},
    {"models.errors"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# A client talks to a service over HTTP: it needs the words of the interface, and photos from disk.
OF_CLIENT = {
    "service.schemas",
    "service.errors",
    "models.errors",
    "models.datasets",
    "models.photo",
}
LIGHT = ("service.schemas", "service.client", "service.edge", "service.settings")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules and objects that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports_of(path: Path) -> set[str]:
    return set(imports(ast.parse(path.read_text())))


def ours(names: Iterable[str]) -> set[str]:
    """Return what of these lies in a room of ours; a package's own name and version do not."""
    inside = {name for name in names if name.partition(".")[0] in {"models", "service"}}
    return inside - {"service", "models", "service.__version__"}


def upward(name: str, imported: Iterable[str]) -> list[str]:
    """Return what a module imports from another room that is not below its own."""
    own = room(name)
    return sorted(
        target
        for target in ours(imported)
        if room(target) != own and FLOOR.get(room(target), -1) <= FLOOR[own]
    )


def environment_reads(tree: ast.AST) -> list[str]:
    """Return what of `os.environ`, `os.getenv` and the like a file touches."""
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    names = [name.rpartition(".")[2] for name in imports(tree)]
    return [name for name in (*attributes, *names) if name in {"environ", "environb", "getenv"}]


@pytest.mark.parametrize("folder", ["models", "service"])
def test_a_table_of_contents_has_at_most_16_entries(folder: str) -> None:
    listed = {
        path.name
        for path in (ROOT / folder).iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert len(listed) <= 16


@pytest.mark.parametrize("path", IN_ROOMS, ids=named)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    assert upward(module(path), imports_of(path)) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {module(path): path for path in (*MODELS, *SERVICE)}
    graph = {
        name: {
            imported if imported in modules else imported.rpartition(".")[0]
            for imported in ours(imports_of(path))
        }
        for name, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        pytest.fail(" -> ".join(found.args[1]))


@pytest.mark.parametrize(
    "path", [path for path in SERVICE if module(path).startswith("service.client")], ids=named
)
def test_the_client_needs_only_what_goes_over_the_wire(path: Path) -> None:
    rooms = {room(name) for name in ours(imports_of(path))}
    assert rooms <= OF_CLIENT | {"service.client"}


@pytest.mark.parametrize("path", SERVICE, ids=named)
def test_only_one_file_knows_the_insides_of_uvicorn(path: Path) -> None:
    inner = [name for name in imports_of(path) if name.startswith("uvicorn.protocols")]
    assert inner == [] or module(path) == "service.edge.connection"


@pytest.mark.parametrize("path", SERVICE, ids=named)
def test_only_guests_and_what_lets_them_in_know_of_guests(path: Path) -> None:
    hosts = {"service.compat", "service.app"}
    rooms = {room(name) for name in ours(imports_of(path))}
    assert "service.compat" not in rooms or room(module(path)) in hosts


@pytest.mark.parametrize("light", LIGHT)
def test_what_computes_nothing_loads_no_torch(light: str) -> None:
    names = [module(path) for path in SERVICE if f"{module(path)}.".startswith(f"{light}.")]
    program = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_the_numerics_import_no_service_and_nothing_it_is_made_of(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports_of(path)}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_the_numerics_read_no_environment_variable(path: Path) -> None:
    assert environment_reads(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", [*MODELS, *SERVICE], ids=named)
def test_no_file_exceeds_600_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", [*MODELS, *SERVICE], ids=named)
def test_sources_import_no_tests(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports_of(path)}
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


@pytest.mark.parametrize(
    ("name", "imported", "found"),
    [
        ("service.edge.guard", "service.compat.scales.as_share", True),
        ("service.edge.guard", "service.recognition.service.Service", True),
        ("service.edge.guard", "service.edge.keys.KeyRing", False),
        ("service.edge.guard", "service.store.Store", False),
        ("models.photo.crop", "service.errors.ServiceError", True),
        ("service.edge.guard", "service.attic.Found", True),
    ],
)
def test_imports_of_higher_rooms_are_recognised(name: str, imported: str, found: bool) -> None:
    assert bool(upward(name, [imported])) == found
