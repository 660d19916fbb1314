"""Loss and validation by epoch, as CSV and as a picture."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path

from models.training.loop import Epoch

LOSS, TAR, ACCURACY = "#475569", "#1a7f5a", "#c2410c"


def curves_csv(history: Sequence[Epoch]) -> str:
    """Return a row per epoch."""
    stream = StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    return stream.getvalue()


def draw_curves(history: Sequence[Epoch], fmr: float, path: Path) -> None:
    """Write a PNG: the loss to the left, what validation measures to the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    learnt, judged = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    steps = [(epoch.number, epoch.loss) for epoch in history if epoch.loss is not None]
    learnt.plot([number for number, _ in steps], [loss for _, loss in steps], color=LOSS)
    learnt.set(xlabel="epoch", ylabel="training loss")
    judged.plot(numbers, [epoch.tar for epoch in history], color=TAR, label=f"TAR at FMR {fmr:g}")
    named = [(epoch.number, epoch.accuracy) for epoch in history if epoch.accuracy is not None]
    if named:
        label = "classifier, held-out photos"
        judged.plot([n for n, _ in named], [a for _, a in named], color=ACCURACY, label=label)
    best = max((epoch.number for epoch in history if epoch.best), default=1)
    judged.axvline(best, color=LOSS, linewidth=0.8, linestyle=":")
    judged.set(xlabel="epoch (dotted: the best)", ylim=(0, 1.02))
    judged.legend(frameon=False)
    for axes in (learnt, judged):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#e2e8f0", linewidth=0.6)
    figure.savefig(path, format="png", dpi=150)
