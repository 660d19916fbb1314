"""`likeness train`: train a head on labelled photos and write a bundle."""

import os
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from service.cli.places import check_folder
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
    """Name a loss."""

    CROSS_ENTROPY = "cross_entropy"
    ARCFACE = "arcface"
    COSFACE = "cosface"


def train(
    photos: Annotated[
        Path,
        typer.Argument(exists=True, help="A folder per person, or a CSV path,identity."),
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.")] = Path(
        "bundle"
    ),
    encoder: Annotated[
        str, typer.Option(help="What gives the features: built-in name, directory or hub id.")
    ] = "builtin",
    evaluate_on: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Labelled photos to be judged on too; who is on one of them is not trained on. "
            "May be given again; the first sets the operating points.",
        ),
    ] = None,
    loss: Annotated[
        Loss, typer.Option(help="CrossEntropy, or a margin loss.")
    ] = Loss.CROSS_ENTROPY,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs.")] = 60,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs without a better validation.")
    ] = 15,
    batch: Annotated[int, typer.Option(min=2, help="Photos a step.")] = 256,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 1e-3,
    dimension: Annotated[
        int, typer.Option(min=2, help="Length of a vector of a fresh head.")
    ] = 128,
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="0 draws photos evenly, 1 people evenly.")
    ] = 0.5,
    noise: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of photos thought to be labelled wrongly."),
    ] = 0.0,
    fresh_head: Annotated[
        bool,
        typer.Option("--fresh-head", help="Do not begin with the head that the bundle has."),
    ] = False,
    lora: Annotated[
        int, typer.Option(min=0, help="Adapt the encoder's attention first, by this rank.")
    ] = 0,
    lora_epochs: Annotated[int, typer.Option(min=1, help="Epochs of adapting.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same head.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Where features are kept; else in the user's cache.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few people and epochs: does it all work?")
    ] = False,
    outside: Outside = False,
) -> None:
    """Train a head on a frozen encoder, measure it on other people, and write a bundle.

    Photos take the service's own path once; a second run finds their features in a cache. A
    run that was stopped goes on where it was when the same command is given again. Rows and
    files that cannot be used are listed, and the exit status is 1 for that reason.
    """
    require("matplotlib", "pytorch_metric_learning", "peft")
    from models.datasets.labelled import read_people, read_protocol
    from models.encoder.device import choose_device, choose_precision
    from models.train import smoke_plan
    from models.train import train as run
    from models.training.loop import Options
    from models.training.plan import Lora, Plan

    check_folder(out_folder)
    labelled = read_people(photos, outside)
    others = tuple(read_protocol(folder, outside=outside) for folder in evaluate_on or ())
    for each in (labelled, *others):
        print_left_out(each.unusable, each.notes)
    chosen = choose_device(device)
    plan = Plan(
        photos=labelled,
        out=out_folder,
        cache=cache or user_cache() / "features",
        encoder=encoder,
        evaluation=others,
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
    with Terminal() as terminal:
        trained = run(smoke_plan(plan) if smoke else plan, terminal)
    print_trained(trained, out_folder)
    exit_status([row for each in (labelled, *others) for row in each.unusable])


class Terminal:
    """Show how far a run is: lines above, a bar below while photos are embedded."""

    def __init__(self) -> None:
        from rich.progress import Progress

        self._progress: Progress = Progress(console=err, transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Terminal":
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
    """Print what came out and where it is."""
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
    """Return the folder for what can be made again (XDG Base Directory)."""
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "likeness"


def commit() -> str | None:
    """Return the commit of the code that runs, if it runs from a checkout."""
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
