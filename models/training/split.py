"""Split people into train, validation and test, and find photos that leak into an evaluation set.

No person is in two parts: one part trains, one decides when to stop, and one measures the result.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.datasets.features import FeatureSet
from models.errors import LikenessError

Places = NDArray[np.int64]

# Each part needs so many people; with fewer there are hardly any pairs of strangers.
FEWEST_PEOPLE = 3
# Two photos are taken for the same if the cosine of their centred features reaches this. With the
# built-in encoders nearly all photos that were recoded, scaled to 0.7, mirrored or brightened
# reach it, and most of those that were cropped by 3 %; no photos of 120 strangers do.
NEAR = 0.96
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Shares:
    """Hold the shares of people for validation and test, and of training photos to hold out."""

    validation: float = 0.15
    test: float = 0.15
    held_out: float = 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """Hold the places of the photos of each part.

    No person is in two of `train`, `validation` and `test`. `held_out` are photos of the people
    of `train`, to test the classifier. `test` also has the unusable photos of its people, because
    they count as failures to enrol.
    """

    train: Places
    held_out: Places
    validation: Places
    test: Places


def split_people(
    people: Places, usable: NDArray[np.bool_], names: list[str], shares: Shares, seed: int
) -> Split:
    """Split photos by person.

    `people` `(n,)` are the numbers of the people on the photos, and `names` their names. People
    are ordered by a hash of name and seed, so that a growing set keeps most of its split. People
    with one usable photo go to `train`, because they make no genuine pair. Raises LikenessError
    if there are too few people.
    """
    count = np.bincount(people[usable], minlength=len(names))
    several = sorted(np.flatnonzero(count >= 2), key=lambda person: _rank(names[person], seed))
    validation_count = max(FEWEST_PEOPLE, round(shares.validation * len(several)))
    test_count = max(FEWEST_PEOPLE, round(shares.test * len(several)))
    needed = validation_count + test_count + FEWEST_PEOPLE
    if len(several) < needed:
        raise LikenessError(
            f"{len(several)} people have two or more usable photos; {needed} are needed to train, "
            "validate and test."
        )
    test_people = np.array(several[:test_count])
    validation_people = np.array(several[test_count : test_count + validation_count])
    for_training = usable & ~np.isin(people, np.concatenate([test_people, validation_people]))
    held_out = _held_out(people, for_training, shares.held_out, seed)
    return Split(
        np.flatnonzero(for_training & ~held_out),
        np.flatnonzero(held_out),
        np.flatnonzero(usable & np.isin(people, validation_people)),
        np.flatnonzero(np.isin(people, test_people)),
    )


def _rank(name: str, seed: int) -> bytes:
    return sha256(f"{seed}:{name}".encode()).digest()


def _held_out(
    people: Places, for_training: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark a share of each training person's photos; people with few photos keep them all."""
    random = np.random.default_rng(seed)
    marked = np.zeros(len(people), bool)
    places = random.permutation(np.flatnonzero(for_training))
    places = places[np.argsort(people[places], kind="stable")]
    for own in np.split(places, np.flatnonzero(np.diff(people[places])) + 1):
        marked[own[: int(share * len(own))]] = True
    return marked


@dataclass(frozen=True, slots=True)
class Leak:
    """Hold a photo of the training set, `place`, that is photo `other` of an evaluation set."""

    place: int
    other: int
    how: Literal["same bytes", "near-identical"]
    similarity: float


def find_leaks(train: FeatureSet, evaluation: FeatureSet, near: float = NEAR) -> list[Leak]:
    """Return the training photos that are also in an evaluation set, by bytes or by features."""
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
    # CLIP's features of faces lie in a narrow cone; only centred features tell photos apart.
    centred = features.sum(1) - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-12), np.float32)
