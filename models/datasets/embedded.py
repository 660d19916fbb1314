"""Embed labelled photos as the service would: decode, detect, align, encode."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.cohort import are_unit
from models.datasets.features import Extracted, Extractor, Progress
from models.datasets.features import ignore as ignore
from models.datasets.labelled import LabelledSet
from models.embedder import Embedder, unit_vectors
from models.encoder.head import Head
from models.errors import DegenerateVector


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


def embed(labelled: LabelledSet, bundle: Bundle, progress: Progress = ignore) -> Embedded:
    """Embed the photos in their order; `progress` is told how many of how many are done."""
    extractor = Extractor(Embedder(bundle, torch.device("cpu"), "fp32"))
    return with_head(labelled, extractor(labelled.images, labelled.folder, progress), bundle.head)


def with_head(labelled: LabelledSet, extracted: Extracted, head: Head | None) -> Embedded:
    """Turn the features of labelled photos into vectors."""
    vectors = unit_vectors(head, torch.from_numpy(extracted.features)).numpy()
    usable = are_unit(vectors) & extracted.usable
    lost = {
        image: DegenerateVector.code
        for image, good in zip(labelled.images, usable, strict=True)
        if not good
    }
    features = np.where(usable[:, None], extracted.features.sum(1), 0)
    vectors = np.where(usable[:, None], vectors, 0)
    return Embedded(vectors, features, lost | extracted.rejected)


def embed_photos(labelled: LabelledSet, bundle: Bundle) -> NDArray[np.float32]:
    """Return `(n, d)` unit vectors in the order of the images; a row of zeros where none."""
    return embed(labelled, bundle).vectors
