"""Embed labelled photos as the service would: decode, detect, align, encode."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.crops import cut
from models.embedder import Embedder, Row
from models.protocols import LabelledSet

_PHOTOS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Embedded:
    """Hold `vectors` `(n, d)` of unit length and pooled `features` `(n, w)`, zeros where none.

    `rejected` says by image why it has none.
    """

    vectors: NDArray[np.float32]
    features: NDArray[np.float32]
    rejected: dict[str, str]

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        return np.asarray(self.vectors.any(axis=1))


def ignore(done: int, of: int) -> None:
    """Report progress to nobody."""


def embed(
    labelled: LabelledSet, bundle: Bundle, progress: Callable[[int, int], None] = ignore
) -> Embedded:
    """Embed the photos in their order; `progress` is told how many of how many are done."""
    spec = bundle.manifest.pixels
    embedder = Embedder(bundle, torch.device("cpu"), "fp32")
    index = {image: i for i, image in enumerate(labelled.images)}
    vectors = np.zeros((len(index), bundle.dimension), np.float32)
    features = np.zeros((len(index), bundle.encoder.width), np.float32)
    rejected: dict[str, str] = {}
    for first in range(0, len(index), _PHOTOS_AT_ONCE):
        names = labelled.images[first : first + _PHOTOS_AT_ONCE]
        files = [labelled.folder / name for name in names]
        present = [file for file in files if file.is_file()]
        rejected |= {n: "missing" for n, f in zip(names, files, strict=True) if not f.is_file()}
        crops = cut(present, labelled.folder, spec.size, spec.margin)
        rejected |= crops.rejected
        for start in range(0, len(crops.names), 32):
            part = slice(start, start + 32)
            rows = embedder(list(crops.crops[part]))
            for name, row in zip(crops.names[part], rows, strict=True):
                if isinstance(row, Row):
                    vectors[index[name]], features[index[name]] = row.vector, row.features
                else:
                    rejected[name] = row.code
            progress(first + min(start + 32, len(crops.names)), len(index))
    return Embedded(vectors, features, rejected)


def embed_photos(labelled: LabelledSet, bundle: Bundle) -> NDArray[np.float32]:
    """Return `(n, d)` unit vectors in the order of the images; a row of zeros where none."""
    return embed(labelled, bundle).vectors
