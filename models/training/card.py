"""Write the model card of a trained bundle, and the curves of its training."""

import csv
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import numpy as np

from models.bundle import Manifest, licences_of
from models.evaluation.page import interval, percent
from models.evaluation.report import Report
from models.training.plan import Epoch, Plan, TrainingResult

LIBRARIES = ("torch", "transformers", "numpy")
LOSS, TAR, ACCURACY = "#475569", "#1a7f5a", "#c2410c"


def model_card(plan: Plan, manifest: Manifest, result: TrainingResult) -> str:
    """Return the model card in Markdown, without photos or names of people."""
    sections = (
        f"# {manifest.name}",
        "A bundle for face verification. To serve it, set `LIKENESS_BUNDLE` to its folder. To "
        "measure it again, run `likeness evaluate`.",
        "## What it is",
        _what(plan, manifest),
        "## Licences of its weights",
        _licences(manifest),
        "## What it was trained on",
        _photos(plan, result),
        "## How it was trained",
        _training(plan, result),
        "## How accurate it is",
        *(_report(report) for report in result.reports),
        "## What it is not suited for",
        manifest.not_good_for,
    )
    return "\n\n".join(sections) + "\n"


def _what(plan: Plan, manifest: Manifest) -> str:
    pixels = manifest.pixels
    adapted = f", adapted with LoRA of rank {plan.lora.rank}" if plan.lora.rank else ""
    widths = " x ".join(str(width) for width in manifest.head or ())
    return (
        f"Encoder `{plan.encoder}`{adapted}, on faces of {pixels.size} pixels with a margin of "
        f"{pixels.margin:g}; head of widths {widths}. The vector of a face is the sum over the "
        "face and its mirror image."
    )


def _licences(manifest: Manifest) -> str:
    rows = [("part", "network", "licence")]
    rows += [
        (each.part, each.network, each.licence)
        for each in licences_of(manifest, manifest.detector or "none")
    ]
    return _table(rows)


def _photos(plan: Plan, result: TrainingResult) -> str:
    people, split = plan.photos.people, result.split
    parts = (
        ("train", split.train),
        ("held out of `train`, to test the classifier", split.held_out),
        ("validation", split.validation),
        ("test", split.test),
    )
    rows = [("part", "photos", "people")]
    rows += [(name, f"{len(at):,}", f"{len(np.unique(people[at])):,}") for name, at in parts]
    counted = Counter(result.rejected.values()).most_common()
    unusable = ", ".join(f"{count:,} {reason}" for reason, count in counted) or "none"
    left_out = len({people[leak.place] for leak in result.leaks})
    return (
        f"{_set(plan)} No person is in two parts, except for the photos held out of `train`.\n\n"
        f"{_table(rows)}\n\nUnusable photos: {unusable}. People left out because one of their "
        f"photos is in an evaluation set: {left_out}."
    )


def _set(plan: Plan) -> str:
    people = len(np.unique(plan.photos.people))
    return (
        f"{len(plan.photos.images):,} photos of {people:,} people in `{plan.photos.folder.name}`."
    )


def _training(plan: Plan, result: TrainingResult) -> str:
    options, best = plan.options, result.best
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    accuracy = "no photos were held out to test it"
    if best.accuracy is not None:
        accuracy = (
            f"it names the right person on {best.accuracy:.1%} of the photos held out of `train`"
        )
    settings = ", ".join(
        f"{name} {getattr(options, name)}"
        for name in ("loss", "epochs", "batch", "rate", "balance", "noise", "seed")
    )
    untrained = " (the first head, before training)" if best.number == 0 else ""
    return (
        f"{settings}. The best of {len(result.history) - 1} epochs is number "
        f"{best.number}{untrained}: TAR "
        f"{best.tar:.3f} at FMR {result.fmr:g} on the people of `validation`; as a classifier "
        f"{accuracy}. `curves.csv` and `curves.png` show every epoch. Python "
        f"{platform.python_version()}, {versions}."
    )


def _report(report: Report) -> str:
    measured = report.calibration
    rows = [("operating point", "similarity", "FMR", "FNMR", "")]
    rows += [
        (
            f"`{point.name}`",
            f"{point.threshold:.4f}",
            interval(point.fmr),
            interval(point.fnmr),
            "extrapolated" if point.extrapolated else "",
        )
        for point in measured.operating_points
    ]
    points = (
        _table(rows) if len(rows) > 1 else "There were too few comparisons for an operating point."
    )
    return (
        f"**{measured.data}**: accuracy {measured.accuracy:.4f}, EER {percent(measured.eer)}, "
        f"failure to enrol {percent(measured.failure_to_enrol)}; {measured.genuine_pairs:,} "
        f"genuine and {measured.impostor_pairs:,} impostor comparisons.\n\n{points}"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def curves_csv(history: Sequence[Epoch]) -> str:
    """Return the epochs as CSV, one row each."""
    stream = StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    return stream.getvalue()


def draw_curves(history: Sequence[Epoch], fmr: float, path: Path) -> None:
    """Draw a PNG with the loss on the left, and TAR and classifier accuracy on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss_axes, rate_axes = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    steps = [(epoch.number, epoch.loss) for epoch in history if epoch.loss is not None]
    loss_axes.plot([number for number, _ in steps], [loss for _, loss in steps], color=LOSS)
    loss_axes.set(xlabel="epoch", ylabel="training loss")
    rate_axes.plot(
        numbers, [epoch.tar for epoch in history], color=TAR, label=f"TAR at FMR {fmr:g}"
    )
    named = [(epoch.number, epoch.accuracy) for epoch in history if epoch.accuracy is not None]
    if named:
        label = "classifier, held-out photos"
        rate_axes.plot([n for n, _ in named], [a for _, a in named], color=ACCURACY, label=label)
    best = max((epoch.number for epoch in history if epoch.best), default=1)
    rate_axes.axvline(best, color=LOSS, linewidth=0.8, linestyle=":")
    rate_axes.set(xlabel="epoch (dotted: the best)", ylim=(0, 1.02))
    rate_axes.legend(frameon=False)
    for axes in (loss_axes, rate_axes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#e2e8f0", linewidth=0.6)
    figure.savefig(path, format="png", dpi=150)
