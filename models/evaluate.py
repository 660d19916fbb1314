"""Measure a bundle on labelled photos and set its operating points.

    python -m models.evaluate dlib --photos lfw_view1 --data "LFW View 1 test" --write

The folder holds `people.csv` (image,person) and `pairs.csv` (a,b,same). Accuracy comes from
the pairs; operating points come from all pairs of the photos. Photos go through the
service's own decoding, detection and alignment.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import BUILTIN_FOLDER, Bundle, Calibration, load_bundle, write_manifest
from models.calibration import (
    Comparisons,
    all_pairs,
    equal_error_rate,
    operating_points,
    pair_accuracy,
)
from models.crops import cut
from models.embedder import Embedder, Row


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Hold photos of a folder, the person on each, and the pairs of its protocol."""

    folder: Path
    images: list[str]
    people: NDArray[np.int64]
    pairs: list[tuple[int, int, bool]]


def read_labelled(folder: Path) -> LabelledSet:
    """Read `people.csv` and `pairs.csv`."""
    with (folder / "people.csv").open() as file:
        rows = list(csv.DictReader(file))
    images = [row["image"] for row in rows]
    index = {image: i for i, image in enumerate(images)}
    _, people = np.unique([row["person"] for row in rows], return_inverse=True)
    with (folder / "pairs.csv").open() as file:
        pairs = [
            (index[row["a"]], index[row["b"]], row["same"] == "1") for row in csv.DictReader(file)
        ]
    return LabelledSet(folder, images, people.astype(np.int64), pairs)


def embed_photos(labelled: LabelledSet, bundle: Bundle) -> NDArray[np.float32]:
    """Return `(n, d)` unit vectors in the order of the images; a row of zeros where none."""
    spec = bundle.manifest.pixels
    files = [labelled.folder / image for image in labelled.images]
    crops = cut(files, labelled.folder, spec.size, spec.margin)
    embedder = Embedder(bundle, torch.device("cpu"), "fp32")
    index = {image: i for i, image in enumerate(labelled.images)}
    vectors = np.zeros((len(files), bundle.dimension), np.float32)
    for start in range(0, len(crops.names), 32):
        rows = embedder(list(crops.crops[start : start + 32]))
        for name, row in zip(crops.names[start : start + 32], rows, strict=True):
            if isinstance(row, Row):
                vectors[index[name]] = row.vector
    return vectors


def calibrate(labelled: LabelledSet, vectors: NDArray[np.float32], data: str) -> Calibration:
    """Measure accuracy over the pairs and operating points over all pairs."""
    enrolled = np.any(vectors != 0, axis=1)
    a, b, same = (np.array(column) for column in zip(*labelled.pairs, strict=True))
    scores = np.einsum("ij,ij->i", vectors[a], vectors[b])
    scores = np.where(enrolled[a] & enrolled[b], scores, -1).astype(np.float32)
    every: Comparisons = all_pairs(vectors, labelled.people, enrolled)
    return Calibration(
        data=data,
        identities=int(labelled.people.max()) + 1,
        images=len(labelled.images),
        genuine_pairs=len(every.genuine),
        impostor_pairs=len(every.impostor),
        failure_to_enrol=float(np.mean(~enrolled)),
        accuracy=pair_accuracy(scores[same], scores[~same]),
        eer=equal_error_rate(every.genuine, every.impostor),
        operating_points=operating_points(every),
    )


def main() -> None:
    """Read the command line, measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", help="name of a built-in bundle")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--data", required=True, help="one sentence on what the photos are")
    parser.add_argument("--write", action="store_true", help="write the result into the bundle")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    labelled = read_labelled(arguments.photos)
    calibration = calibrate(labelled, embed_photos(labelled, bundle), arguments.data)
    print(calibration.model_dump_json(indent=2))
    if arguments.write:
        folder = BUILTIN_FOLDER / arguments.bundle
        write_manifest(folder, bundle.manifest.model_copy(update={"calibration": calibration}))


if __name__ == "__main__":
    main()
