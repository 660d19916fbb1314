"""How often strangers of one group match: `python -m tests.bench.strangers DIR --csv FILE`.

The CSV has a column `image` and one or more columns of groups. Nobody needs to be known: nearly all
pairs are strangers, and those above a cosine of 0.85 are taken for one person and left out.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import choose, load_bundle
from models.embedded import with_head
from models.embedder import Embedder
from models.extract import Extractor
from models.protocols import LabelledSet
from tests.bench.machine import describe_machine, markdown

SAME_PERSON = 0.85
LEAST = 300


def table(photos: Path, rows: list[dict[str, str]], name: str) -> str:
    """Return the FMR at each operating point among the photos of each group."""
    bundle = load_bundle(name)
    images = [row["image"] for row in rows]
    extractor = Extractor(Embedder(bundle, torch.device("cpu"), "fp32"))
    labelled = LabelledSet(photos, images, np.arange(len(images)), [])
    embedded = with_head(labelled, extractor(images, photos), bundle.head)
    points = bundle.operating_points
    lines = []
    for column in (each for each in rows[0] if each != "image"):
        values = np.array([row[column] for row in rows])
        for value in sorted(set(values)):
            vectors = embedded.vectors[(values == value) & embedded.enrolled]
            if len(vectors) < LEAST:
                continue
            scores = strangers(vectors)
            rates = (f"{np.mean(scores >= point.threshold):.2%}" for point in points)
            lines.append((f"{column} {value}", f"{len(vectors):,}", *rates))
    head = ("group", "photos", *(f"FMR at {point.name}" for point in points))
    return markdown(f"Strangers who match, {name}", head, lines)


def strangers(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines of all pairs that are not obviously one person."""
    first, second = np.triu_indices(len(vectors), 1)
    scores = (vectors @ vectors.T)[first, second]
    kept: NDArray[np.float32] = scores[scores < SAME_PERSON]
    return kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--csv", type=Path, required=True, help="image and groups")
    parser.add_argument("--bundle", help="name or folder; else the default")
    arguments = parser.parse_args()
    print(describe_machine())
    with arguments.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"\n{table(arguments.photos, rows, choose(arguments.bundle)[0])}")


if __name__ == "__main__":
    main()
