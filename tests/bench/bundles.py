"""Bundles side by side on labelled photos: `python -m tests.bench.bundles --photos DIR`.

All take the same path through decoding, detection and alignment. `--bundle` adds others:
trained heads, a checkpoint of the hub.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Calibration, load_bundle
from models.embedded import embed
from models.evaluate import calibrate
from models.page import interval, percent
from models.protocols import LabelledSet, read_protocol
from tests.bench.machine import describe_machine, markdown

POINTS = ("fmr_1e-2", "fmr_1e-3", "fmr_1e-4")


def table(labelled: LabelledSet, names: Sequence[str]) -> str:
    """Return accuracy and FNMR of every bundle, and of an encoder whose head is left out."""
    rows = [
        row_of(title, calibrate(labelled, vectors, ""))
        for name in names
        for title, vectors in variants(labelled, name)
    ]
    head = ("bundle", "accuracy", *(f"FNMR at {point}" for point in POINTS), "not enrolled")
    return markdown("Bundles", head, rows)


def variants(labelled: LabelledSet, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the vectors of a bundle and, where it has a head, its pooled features."""
    bundle = load_bundle(name)
    embedded = embed(labelled, bundle)
    yield name, embedded.vectors
    if bundle.head is not None:
        lengths = np.linalg.norm(embedded.features, axis=1, keepdims=True)
        yield f"{name} without head", embedded.features / np.maximum(lengths, 1e-12)


def row_of(title: str, calibration: Calibration) -> tuple[str, ...]:
    points = {point.name: point for point in calibration.operating_points}
    fnmr = (interval(points[name].fnmr) if name in points else "not supported" for name in POINTS)
    failed = percent(calibration.failure_to_enrol)
    return (title, f"{calibration.accuracy:.4f}", *fnmr, failed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True, help="labelled photos")
    parser.add_argument("--pairs", type=Path, help="LFW's pairs.txt, or a CSV a,b,same")
    parser.add_argument("--bundle", action="append", default=[], help="one more bundle")
    arguments = parser.parse_args()
    print(describe_machine())
    print()
    labelled = read_protocol(arguments.photos, arguments.pairs)
    print(table(labelled, ["builtin", "dlib", *arguments.bundle]))


if __name__ == "__main__":
    main()
