"""Measure the disk space of an installation: `python -m tests.tools.bench.installed`."""

import argparse
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tools.bench.machine import describe_machine, markdown

SHOWN = 12


def table(*extras: str) -> str:
    """Return the table of the sizes of the packages that the service installs, largest first."""
    installed = _needed("likeness-server", frozenset(extras))
    sizes = {name: _size(found) for name, found in installed.items()}
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    rows = [(name, f"{size / 1e6:.1f}") for name, size in ordered[:SHOWN]]
    rest = ordered[SHOWN:]
    rows.append((f"{len(rest)} others", f"{sum(size for _, size in rest) / 1e6:.1f}"))
    rows.append(("total", f"{sum(sizes.values()) / 1e6:.1f}"))
    return markdown("Installed", ("package", "MB"), rows)


def _needed(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """Return a package and its requirements, as far as they are installed."""
    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += [
            (canonicalize_name(needed.name), frozenset(needed.extras))
            for needed in _requirements(found[name], extras)
        ]
    return found


def _requirements(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in package.requires or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield needed


def _size(package: Distribution) -> int:
    paths = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--extras", nargs="*", default=[], help="extras of the package, such as openvino"
    )
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    print(table(*arguments.extras))


if __name__ == "__main__":
    main()
