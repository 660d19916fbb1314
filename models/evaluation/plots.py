"""Plots of an evaluation as SVG text; matplotlib is loaded when one is drawn."""

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.decision import OperatingPoint
from models.evaluation.report import Curve, Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GENUINE, IMPOSTOR, INK = "#1a7f5a", "#c2410c", "#475569"


def draw_det(curve: Curve, points: Sequence[OperatingPoint]) -> str:
    """Draw FNMR over FMR, both logarithmic, with the operating points and their intervals."""
    figure, axes = _figure()
    fmr, fnmr = np.array(curve.fmr), np.array(curve.fnmr)
    seen = (fmr > 0) & (fnmr > 0)
    axes.set(xscale="log", yscale="log", xlim=_decades(fmr), ylim=_decades(fnmr))
    axes.step(fmr[seen], fnmr[seen], color=INK, linewidth=1.5, where="post")
    for point in points:
        if point.fmr.value and point.fnmr.value:
            axes.plot(
                [point.fmr.low or point.fmr.value, point.fmr.high],
                [point.fnmr.value] * 2,
                color=IMPOSTOR,
            )
            axes.plot(
                [point.fmr.value] * 2,
                [point.fnmr.low or point.fnmr.value, point.fnmr.high],
                color=GENUINE,
            )
            axes.annotate(
                point.name.replace("_", " ").upper().replace("E-", "e-"),
                (point.fmr.value, point.fnmr.value),
                xytext=(6, 6),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set_xlabel("FMR: strangers taken for one person")
    axes.set_ylabel("FNMR: one person taken for strangers")
    axes.grid(True, which="both", color="#e2e8f0", linewidth=0.6)
    return _svg(figure)


def _decades(rates: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits that hold all rates above 0, and two decades at least."""
    least = min(rates[rates > 0], default=1.0)
    return min(0.7 * float(least), 0.01), 1.4


def draw_histogram(histogram: Histogram, points: Sequence[OperatingPoint]) -> str:
    """Draw the shares of both kinds of comparison by similarity, and the thresholds."""
    figure, axes = _figure()
    edges = np.array(histogram.edges)
    kinds = (
        ("two people", histogram.impostor, IMPOSTOR),
        ("one person", histogram.genuine, GENUINE),
    )
    for label, shares, colour in kinds:
        axes.stairs(shares, edges, fill=True, alpha=0.45, color=colour, label=label)
    for point in points:
        axes.axvline(point.threshold, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("similarity (dotted: thresholds)")
    axes.set_ylabel("share of comparisons")
    axes.legend(frameon=False)
    return _svg(figure)


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: "Figure") -> str:
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
