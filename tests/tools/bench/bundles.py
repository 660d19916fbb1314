"""Compare bundles on labelled photos: `python -m tests.tools.bench.bundles --photos DIR`.

The photos of all bundles are decoded, detected and aligned in the same way. `--train PEOPLE` adds
new heads on the built-in encoder, one for every loss. `--bundle` adds other bundles, for example a
checkpoint of the hub.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import BUILTIN_NAMES, Calibration, installed_bundles, load_bundle
from models.datasets.features import embed
from models.datasets.labelled import LabelledSet, read_people, read_protocol
from models.encoder.device import choose_precision
from models.evaluation.measure import calibrate
from models.evaluation.page import interval, percent
from models.train import train
from models.training.options import LossName, Options
from models.training.plan import Epoch, Plan
from tests.tools.bench.machine import describe_machine, markdown

POINTS = ("fmr_1e-2", "fmr_1e-3", "fmr_1e-4")


def table(labelled: LabelledSet, names: Sequence[str]) -> str:
    """Return the table of accuracy and FNMR of every bundle, and of its encoder without a head."""
    rows = [
        row_of(title, calibrate(labelled, vectors, ""))
        for name in names
        for title, vectors in variants(labelled, name)
    ]
    head = ("bundle", "accuracy", *(f"FNMR at {point}" for point in POINTS), "not enrolled")
    return markdown("Bundles", head, rows)


def variants(labelled: LabelledSet, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the vectors of a bundle and, if it has a head, its features without the head."""
    bundle = load_bundle(name)
    embedded = embed(labelled, bundle)
    yield bundle.manifest.name, embedded.vectors
    if name in BUILTIN_NAMES and bundle.head is not None:
        lengths = np.linalg.norm(embedded.features, axis=1, keepdims=True)
        yield f"{name} without head", embedded.features / np.maximum(lengths, 1e-12)


def row_of(title: str, calibration: Calibration) -> tuple[str, ...]:
    points = {point.name: point for point in calibration.operating_points}
    fnmr = (interval(points[name].fnmr) if name in points else "not supported" for name in POINTS)
    failed = percent(calibration.failure_to_enrol)
    return (title, f"{calibration.accuracy:.4f}", *fnmr, failed)


def train_heads(people: Path, evaluation: LabelledSet, folder: Path) -> Iterator[str]:
    """Train a new head with every loss, without the people of the evaluation set."""
    for loss in get_args(LossName):
        plan = Plan(
            photos=read_people(people),
            out=folder / f"builtin encoder, head by {loss}",
            cache=folder,
            evaluation=(evaluation,),
            options=Options(loss=loss),
            fresh_head=True,
            precision=choose_precision(torch.device("cpu")),
        )
        train(plan, Silence())
        yield str(plan.out)


class Silence:
    """Ignore the progress of a run."""

    def note(self, line: str) -> None: ...

    def progress(self, what: str, done: int, of: int) -> None: ...

    def epoch(self, stage: str, epoch: Epoch, fmr: float) -> None: ...


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True, help="folder of labelled photos")
    parser.add_argument("--pairs", type=Path, help="LFW's pairs.txt, or a CSV file a,b,same")
    parser.add_argument(
        "--train", type=Path, help="a folder for each person, or a CSV file path,identity"
    )
    parser.add_argument("--bundle", action="append", default=[], help="another bundle to compare")
    arguments = parser.parse_args()
    print(describe_machine())
    print()
    labelled = read_protocol(arguments.photos, arguments.pairs)
    with TemporaryDirectory() as folder:
        own = train_heads(arguments.train, labelled, Path(folder)) if arguments.train else ()
        print(table(labelled, [*installed_bundles(), *own, *arguments.bundle]))


if __name__ == "__main__":
    main()
