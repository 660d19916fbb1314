"""Hold the plan of a training run, its result, and the interface that reports progress."""

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
    """Hold the options of LoRA; `rank` is the rank of the change of every matrix."""

    rank: int = 8
    epochs: int = 5
    batch: int = 64
    rate: float = 5e-4


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold the photos, the encoder and the options of a run, and the folder of the new bundle.

    `evaluation` are more labelled sets to evaluate on; their photos are not trained on.
    `encoder` is a built-in name, a folder or a hub id; with `lora` it is adapted first. If it is
    a bundle with a head, training begins with that head unless `fresh_head` is set. `weights` is
    a folder with the networks that are otherwise installed.
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
        """Return the folder of files that only this run needs, such as its checkpoints."""
        return self.out / "run"


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
