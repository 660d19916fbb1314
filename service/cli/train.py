"""`likeness train`: train a head on labelled photos and write a bundle."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.markup import escape

from models.training.options import Inputs, Lora, Options, with_knobs
from service.cli.terminal import (
    check_folder,
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

    from models.training.plan import Epoch, TrainingResult


@with_knobs
def train(inputs: Inputs, options: Options, lora: Lora) -> None:
    """Train a head on a frozen encoder, measure it on other people, and write a bundle.

    Photos are prepared as the service prepares them, once; later runs read their features from a
    cache. If the command is stopped, run it again: it continues. Rows and files that cannot be
    used are listed, and the exit status is then 1.
    """
    require("matplotlib", "pytorch_metric_learning", "peft")
    check_folder(inputs.out)
    from models.train import read_plan, smoke_plan
    from models.train import train as run

    plan = read_plan(inputs, options, lora, user_cache() / "features")
    plan = replace(plan, weights=settings_from().weights)
    labelled_sets = (plan.photos, *plan.evaluation)
    for each in labelled_sets:
        print_left_out(each.unusable, each.notes)
    with TrainingDisplay() as display:
        trained = run(smoke_plan(plan) if inputs.smoke else plan, display)
    print_trained(trained, inputs.out)
    exit_status([row for each in labelled_sets for row in each.unusable])


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
        show(epoch.line(stage, fmr), to=err)


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
