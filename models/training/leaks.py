"""Photos that the training set shares with a set it will be judged on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.datasets.features import Extracted

# Cosine of features less their mean. With the built-in encoders nearly all photos that were
# recoded, scaled to 0.7, mirrored or brightened reach it, and most that lost a rim of 3 %; of 120
# strangers none.
NEAR = 0.96
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Leak:
    """Say that photo `place` of the training set is photo `other` of the evaluation set."""

    place: int
    other: int
    how: Literal["same bytes", "near-identical"]
    similarity: float


def find_leaks(train: Extracted, evaluation: Extracted, near: float = NEAR) -> list[Leak]:
    """Return every training photo that is in the evaluation set too, by bytes or by look."""
    known = {digest: at for at, digest in enumerate(evaluation.digests) if digest}
    same = {at: known[d] for at, d in enumerate(train.digests) if d in known}
    leaks = [Leak(at, other, "same bytes", 1.0) for at, other in same.items()]
    candidates = np.flatnonzero(train.usable)
    references = np.flatnonzero(evaluation.usable)
    if not len(candidates) or not len(references):
        return leaks
    mean = train.features[candidates].sum(1).mean(0)
    targets = _directions(evaluation.features[references], mean)
    for start in range(0, len(candidates), _ROWS):
        places = candidates[start : start + _ROWS]
        scores = _directions(train.features[places], mean) @ targets.T
        best = scores.argmax(1)
        highest = scores[np.arange(len(places)), best]
        leaks += [
            Leak(int(places[at]), int(references[best[at]]), "near-identical", float(highest[at]))
            for at in np.flatnonzero(highest >= near)
            if int(places[at]) not in same
        ]
    return sorted(leaks, key=lambda leak: leak.place)


def _directions(features: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    # CLIP's features of faces lie in a narrow cone: only less their mean do they tell photos
    # apart.
    centred = features.sum(1) - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-12), np.float32)
