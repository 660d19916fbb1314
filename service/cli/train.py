"""`likeness train`: train a head on labelled photos and write a bundle."""

import os
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from service.cli.outputs import check_folder
from service.cli.terminal import (
    Outside,
    err,
    exit_status,
    print_left_out,
    require,
    settings_from,
    show,
    visible,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

    from models.training.loop import Epoch
    from models.training.plan import TrainingResult


class Loss(StrEnum):
    """Name a loss function."""

    CROSS_ENTROPY = "cross_entropy"
    ARCFACE = "arcface"
    COSFACE = "cosface"


def train(
    photos: Annotated[
        Path,
        typer.Argument(exists=True, help="One folder per person, or a CSV path,identity."),
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the new bundle.")] = Path(
        "bundle"
    ),
    encoder: Annotated[
        str, typer.Option(help="Encoder of the features: built-in name, folder or hub id.")
    ] = "builtin",
    evaluate_on: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Labelled photos for another evaluation; their people are left out of the "
            "training. Repeat it for more; the first one sets the operating points.",
        ),
    ] = None,
    loss: Annotated[
        Loss, typer.Option(help="Cross-entropy, or a margin loss.")
    ] = Loss.CROSS_ENTROPY,
    epochs: Annotated[int, typer.Option(min=1, help="Largest number of epochs.")] = 60,
    patience: Annotated[
        int,
        typer.Option(min=1, help="Stop after so many epochs without a better validation result."),
    ] = 15,
    batch: Annotated[int, typer.Option(min=2, help="Photos per step.")] = 256,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 1e-3,
    dimension: Annotated[
        int, typer.Option(min=2, help="Length of the vectors, for a fresh head.")
    ] = 128,
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="0 draws photos evenly, 1 draws people evenly.")
    ] = 0.5,
    noise: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the photos that may have wrong labels."),
    ] = 0.0,
    fresh_head: Annotated[
        bool,
        typer.Option("--fresh-head", help="Do not start with the head of the bundle."),
    ] = False,
    lora: Annotated[
        int,
        typer.Option(min=0, help="First adapt the encoder's attention, with LoRA of this rank."),
    ] = 0,
    lora_epochs: Annotated[int, typer.Option(min=1, help="Epochs of that adaptation.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same head.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for features. Default: in the user's cache.")
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Use a few people and epochs, to see whether everything works."
        ),
    ] = False,
    outside: Outside = False,
) -> None:
    """Train a head on a frozen encoder, measure it on other people, and write a bundle.

    Photos are prepared as the service prepares them, once; later runs read their features from a
    cache. If the command is stopped, run it again: it continues. Rows and files that cannot be
    used are listed, and the exit status is then 1.
    """
    require("matplotlib", "pytorch_metric_learning", "peft")
    check_folder(out_folder)
    from models.datasets.labelled import read_people, read_protocol
    from models.encoder.device import choose_device, choose_precision
    from models.train import smoke_plan
    from models.train import train as run
    from models.training.loop import Options
    from models.training.plan import Lora, Plan

    labelled = read_people(photos, outside)
    evaluation = tuple(read_protocol(folder, outside=outside) for folder in evaluate_on or ())
    for each in (labelled, *evaluation):
        print_left_out(each.unusable, each.notes)
    chosen = choose_device(device)
    plan = Plan(
        photos=labelled,
        out=out_folder,
        cache=cache or user_cache() / "features",
        encoder=encoder,
        evaluation=evaluation,
        options=Options(
            loss=loss.value,
            dimension=dimension,
            epochs=epochs,
            patience=patience,
            batch=batch,
            rate=rate,
            balance=balance,
            noise=noise,
            seed=seed,
        ),
        fresh_head=fresh_head,
        lora=Lora(rank=lora, epochs=lora_epochs) if lora else None,
        device=chosen,
        precision=choose_precision(chosen),
        commit=commit(),
        weights=settings_from().weights,
    )
    with TrainingDisplay() as display:
        trained = run(smoke_plan(plan) if smoke else plan, display)
    print_trained(trained, out_folder)
    exit_status([row for each in (labelled, *evaluation) for row in each.unusable])


class TrainingDisplay:
    """Show the progress of a training: lines, and a bar below them while photos are embedded."""

    def __init__(self) -> None:
        from rich.progress import Progress

        self._progress: Progress = Progress(console=err, transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "TrainingDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, line: str) -> None:
        show(line, to=err)

    def progress(self, what: str, done: int, of: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(escape(visible(what)), total=of)
        self._progress.update(self._tasks[what], completed=done, total=of)

    def epoch(self, stage: Literal["encoder", "head"], epoch: "Epoch", fmr: float) -> None:
        loss = "  before" if epoch.loss is None else f"{epoch.loss:8.4f}"
        accuracy = "" if epoch.accuracy is None else f"  classifier {epoch.accuracy:6.1%}"
        show(
            f"{stage} epoch {epoch.number:3}  loss {loss}{accuracy}  "
            f"TAR at FMR {fmr:g} {epoch.tar:6.1%}{'  best' if epoch.best else ''}",
            to=err,
        )


def print_trained(trained: "TrainingResult", folder: Path) -> None:
    """Print the results and where the bundle is."""
    from models.evaluation.page import interval, percent

    best = trained.best
    if best.accuracy is not None:
        show(f"classifier accuracy on held-out photos {best.accuracy:.1%}, epoch {best.number}")
    for report in trained.reports:
        measured = report.calibration
        show(measured.data, style="bold")
        for point in measured.operating_points:
            show(f"  {point.name:10} FNMR {interval(point.fnmr)}")
        show(
            f"  accuracy {measured.accuracy:.4f}; EER {percent(measured.eer)}; "
            f"failure to enrol {percent(measured.failure_to_enrol)}"
        )
    show(f"bundle   {folder}  (LIKENESS_BUNDLE={folder} serves it)")
    show(f"card     {folder / 'README.md'}")


def user_cache() -> Path:
    """Return the cache folder of the user (XDG Base Directory)."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "likeness"


def commit() -> str | None:
    """Return the commit of the running code, None outside a checkout."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or None
