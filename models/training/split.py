"""Who trains, who stops the training and who judges it: never the same people."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.datasets.features import FeatureSet
from models.errors import LikenessError

Places = NDArray[np.int64]

# Two of each are compared with two of the others; fewer people say nothing about strangers.
FEWEST_PEOPLE = 3


@dataclass(frozen=True, slots=True)
class Shares:
    """Hold which share of the people validates and tests, and which of photos is held out."""

    validation: float = 0.15
    test: float = 0.15
    held_out: float = 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """Hold places of photos. No person is in two of `train`, `validation` and `test`.

    `held_out` are photos of people in `train`, to test the classifier over them. `test` has
    the unusable photos of its people too: who cannot be enrolled is not recognised.
    """

    train: Places
    held_out: Places
    validation: Places
    test: Places


def split_people(
    people: Places, usable: NDArray[np.bool_], names: list[str], shares: Shares, seed: int
) -> Split:
    """Split the usable photos by person; `people` `(n,)` numbers them, `names` names them.

    People are ordered by a hash of name and seed, so that a set that grows keeps most of its
    split. People with one photo train: they make no genuine pair. Raises LikenessError if
    there are too few.
    """
    count = np.bincount(people[usable], minlength=len(names))
    several = sorted(np.flatnonzero(count >= 2), key=lambda person: _rank(names[person], seed))
    validating = max(FEWEST_PEOPLE, round(shares.validation * len(several)))
    testing = max(FEWEST_PEOPLE, round(shares.test * len(several)))
    if len(several) < validating + testing + FEWEST_PEOPLE:
        raise LikenessError(
            f"{len(several)} people have two usable photos or more; "
            f"{validating + testing + FEWEST_PEOPLE} are needed to train, validate and test."
        )
    judging = np.array(several[:testing])
    stopping = np.array(several[testing : testing + validating])
    taught = usable & ~np.isin(people, np.concatenate([judging, stopping]))
    held_out = _held_out(people, taught, shares.held_out, seed)
    return Split(
        np.flatnonzero(taught & ~held_out),
        np.flatnonzero(held_out),
        np.flatnonzero(usable & np.isin(people, stopping)),
        np.flatnonzero(np.isin(people, judging)),
    )


def _rank(name: str, seed: int) -> bytes:
    return sha256(f"{seed}:{name}".encode()).digest()


def _held_out(
    people: Places, taught: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark a share of the photos of everybody who trains; people with few keep them all."""
    random = np.random.default_rng(seed)
    marked = np.zeros(len(people), bool)
    places = random.permutation(np.flatnonzero(taught))
    places = places[np.argsort(people[places], kind="stable")]
    for own in np.split(places, np.flatnonzero(np.diff(people[places])) + 1):
        marked[own[: int(share * len(own))]] = True
    return marked


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


def find_leaks(train: FeatureSet, evaluation: FeatureSet, near: float = NEAR) -> list[Leak]:
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
