"""Measure embed-folder with and without Ray: `python -m tests.tools.bench.clusters FOLDER`.

Whole commands are timed. A run over one photo gives the time to start. The rate is the number of
other photos, divided by the additional time of a run over all photos. Without a folder, photos
are generated.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from models.datasets.folders import photos_in
from service.cli.terminal import EXIT_SOME_FAILED
from tests.tools.bench.folders import write_photos
from tests.tools.bench.machine import describe_machine, markdown

ENGINES = ("local", "ray")


def seconds(photos: Path, out: Path, engine: str, bundle: str) -> float:
    """Run the command once and return its duration."""
    words = ["embed-folder", photos, "--out", out, "--engine", engine, "--bundle", bundle]
    began = perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "service.__main__", *(str(word) for word in words)],
        capture_output=True,
    )
    if process.returncode not in (0, EXIT_SOME_FAILED):
        raise RuntimeError(process.stderr.decode())
    return perf_counter() - began


def table(photos: Sequence[Path], bundle: str, rounds: int, folder: Path) -> str:
    """Return the table of medians by engine; engines take turns, so that load hits all alike."""
    one, all_ = folder / "one", folder / "all"
    for place, files in ((one, photos[:1]), (all_, photos)):
        place.mkdir()
        for at, file in enumerate(files):
            (place / f"{at:06}{file.suffix}").symlink_to(file.absolute())
    durations: dict[tuple[str, Path], list[float]] = {}
    for turn in range(rounds):
        for engine in ENGINES:
            for place in (one, all_):
                out = folder / f"{engine}-{place.name}-{turn}"
                durations.setdefault((engine, place), []).append(
                    seconds(place, out, engine, bundle)
                )
    rows = []
    for engine in ENGINES:
        start, whole = durations[engine, one], durations[engine, all_]
        rates = [(len(photos) - 1) / (w - s) for s, w in zip(start, whole, strict=True)]
        rows.append((engine, *(f"{median(column):.1f}" for column in (start, whole, rates))))
    title = f"embed-folder over {len(photos):,} photos, `{bundle}`, {rounds} rounds"
    return markdown(title, ("engine", "start s", "whole s", "photos/s"), rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="folder of photos (default: generated photos)"
    )
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundle", default="builtin")
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        given = arguments.folder
        photos = photos_in(given) if given else write_photos(made, arguments.photos)
        print(table(photos[: arguments.photos], arguments.bundle, arguments.rounds, Path(name)))


if __name__ == "__main__":
    main()
