"""Plan a training run: its photos and options, the people of each part, and its result.

No person is in two parts: one part trains, one decides when to stop, and one measures the result.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.datasets.features import FeatureSet
from models.datasets.labelled import LabelledSet
from models.encoder.device import Precision
from models.errors import LikenessError
from models.evaluation.report import Report
from models.training.options import Lora, Options, Shares

Places = NDArray[np.int64]

# Each part needs so many people; with fewer there are hardly any pairs of strangers.
FEWEST_PEOPLE = 3
# Two photos are taken for the same if the cosine of their centred features reaches this. With the
# built-in encoders nearly all photos that were recoded, scaled to 0.7, mirrored or brightened
# reach it, and most of those that were cropped by 3 %; no photos of 120 strangers do.
NEAR = 0.96
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold the photos, the encoder and the options of a run, and the folder of the new bundle.

    `evaluation` are more labelled sets to evaluate on; their photos are not trained on.
    `encoder` is a built-in name, a folder or a hub id; it is adapted first unless the rank of
    `lora` is 0. If it is a bundle with a head, training begins with that head unless `fresh_head`
    is set. `weights` is a folder with the networks that are otherwise installed.
    """

    photos: LabelledSet
    out: Path
    cache: Path
    encoder: str = "builtin"
    evaluation: tuple[LabelledSet, ...] = ()
    options: Options = field(default_factory=Options)
    shares: Shares = field(default_factory=Shares)
    fresh_head: bool = False
    lora: Lora = field(default_factory=Lora)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "fp32"
    commit: str | None = None
    weights: Path | None = None

    @property
    def run(self) -> Path:
        """Return the folder of files that only this run needs, such as its checkpoints."""
        return self.out / "run"


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


@dataclass(frozen=True, slots=True)
class Epoch:
    """Hold the results of one epoch; epoch 0 is the state before the first step.

    `accuracy` is the accuracy of the classifier on held-out photos.
    """

    number: int
    rate: float
    loss: float | None
    accuracy: float | None
    tar: float
    best: bool
    seconds: float

    def line(self, stage: str, fmr: float) -> str:
        """Return the line of a log; `fmr` is the FMR at which the TAR was measured."""
        loss = "  before" if self.loss is None else f"{self.loss:8.4f}"
        accuracy = "" if self.accuracy is None else f"  classifier {self.accuracy:6.1%}"
        return (
            f"{stage} epoch {self.number:3}  loss {loss}{accuracy}  "
            f"TAR at FMR {fmr:g} {self.tar:6.1%}{'  best' if self.best else ''}"
        )


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Hold the result of a run, without the bundle itself.

    `fmr` is the FMR at which the TAR of each epoch was measured. The first report is of the test
    people of the training set, the others of the evaluation sets. `rejected` gives the reason for
    each unusable photo.
    """

    split: Split
    history: tuple[Epoch, ...]
    fmr: float
    reports: tuple[Report, ...]
    rejected: dict[str, str]
    leaks: tuple[Leak, ...]

    @property
    def best(self) -> Epoch:
        """Return the best epoch, whose weights are in the bundle."""
        return max((epoch for epoch in self.history if epoch.best), key=lambda epoch: epoch.number)


class Listener(Protocol):
    """Receive the progress of a run."""

    def note(self, line: str) -> None:
        """Show one line to the user."""

    def progress(self, what: str, done: int, of: int) -> None:
        """Show that `done` of `of` items are done."""

    def epoch(self, stage: Literal["encoder", "head"], epoch: Epoch, fmr: float) -> None:
        """Show the results of one epoch; `fmr` is the FMR at which its TAR was measured."""
