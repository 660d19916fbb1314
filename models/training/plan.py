"""What a training run is given, and what comes out of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch

from models.datasets.labelled import LabelledSet
from models.encoder.device import Precision
from models.evaluation.report import Report
from models.training.loop import Epoch, Options
from models.training.split import Leak, Shares, Split


@dataclass(frozen=True, slots=True)
class Lora:
    """Hold how the encoder is adapted; `rank` is the width of the change of every matrix."""

    rank: int = 8
    epochs: int = 5
    batch: int = 64
    rate: float = 5e-4


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what to train on, with what, and where the bundle goes.

    `evaluation` are sets to be judged on besides: none of their people is trained on.
    `encoder` is a built-in name, a directory or a hub id; with `lora` it is adapted first.
    Where it is a bundle with a head, training begins with that head unless `fresh_head`.
    `weights` is a folder that holds the networks that are else installed.
    """

    photos: LabelledSet
    out: Path
    cache: Path
    encoder: str = "builtin"
    evaluation: tuple[LabelledSet, ...] = ()
    options: Options = field(default_factory=Options)
    shares: Shares = field(default_factory=Shares)
    fresh_head: bool = False
    lora: Lora | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "fp32"
    commit: str | None = None
    weights: Path | None = None

    @property
    def run(self) -> Path:
        """Return the folder of what is of use for this run only."""
        return self.out / "run"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Hold what came out, besides the bundle itself.

    `accuracy` is that of the best epoch's classifier on held-out photos of the people it
    knows. The first report is of people held back from the training set, the others of the
    evaluation sets.
    """

    split: Split
    history: tuple[Epoch, ...]
    fmr: float
    reports: tuple[Report, ...]
    rejected: dict[str, str]
    leaks: tuple[Leak, ...]

    @property
    def best(self) -> Epoch:
        return max((epoch for epoch in self.history if epoch.best), key=lambda epoch: epoch.number)


class Listener(Protocol):
    """Be told how far a run is."""

    def note(self, line: str) -> None:
        """Take one line for the user."""

    def progress(self, what: str, done: int, of: int) -> None:
        """Take how many of how many are done."""

    def epoch(self, stage: Literal["encoder", "head"], epoch: Epoch, fmr: float) -> None:
        """Take one epoch; `fmr` is where its TAR was measured."""
