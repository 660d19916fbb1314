"""Render a report as one HTML page, with its plots as SVG."""

import base64
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from models.datasets.folders import read_photo_file
from models.decision import OperatingPoint, Rate
from models.errors import LikenessError
from models.photo.image import decode

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.evaluation.report import DetCurve, Histogram, Report

GENUINE, IMPOSTOR, INK = "#1a7f5a", "#c2410c", "#475569"
_THUMBNAIL = 160


def render(report: "Report", embed_photos: bool = False) -> str:
    """Return the page; it links to the photos, or contains them with `embed_photos`."""
    points = [row.point for row in report.table if row.point is not None]
    # Points that were measured on other photos do not lie on this curve.
    on_curve = [point for point in points if not point.data]

    def source(name: str) -> str:
        path = report.folder / name
        return _thumbnail(path) if embed_photos else path.absolute().as_uri()

    return load_template("report.html.j2").render(
        report=report,
        det=_data_uri("image/svg+xml", draw_det(report.det, on_curve).encode()),
        histogram=_data_uri("image/svg+xml", draw_histogram(report.histogram, points).encode()),
        source=source,
        embed_photos=embed_photos,
    )


def load_template(name: str) -> "Template":
    """Load a template of this folder. It escapes all values, and a missing value is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": interval,
        "marks": marks,
        "number": "{:,}".format,
        "percent": percent,
    }
    return environment.get_template(name)


def percent(value: float) -> str:
    """Return a rate in per cent, with two digits if it is small."""
    return f"{value:.2%}" if value >= 0.01 or value == 0 else f"{value * 100:#.2g}%"


def interval(rate: Rate | None) -> str:
    """Return a rate with its 95 % interval, in per cent."""
    if rate is None:
        return "none compared"
    return f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"


def marks(point: OperatingPoint) -> list[str]:
    """Return remarks on how a point was measured: `extrapolated`, `kept`."""
    kept = f"kept, measured on {point.data}" if point.data else "kept"
    remarks = (("extrapolated", point.extrapolated), (kept, point.kept))
    return [remark for remark, applies in remarks if applies]


def _thumbnail(path: Path) -> str:
    """Return a small photo as a data URI; empty if the photo cannot be read."""
    try:
        photo = Pillow.fromarray(decode(read_photo_file(path)).pixels)
    except (OSError, LikenessError):
        return ""
    photo.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=80)
    return _data_uri("image/jpeg", stream.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def draw_det(curve: "DetCurve", points: Sequence[OperatingPoint]) -> str:
    """Draw FNMR over FMR on logarithmic axes, with the operating points and their intervals."""
    figure, axes = _figure()
    fmr, fnmr = np.array(curve.fmr), np.array(curve.fnmr)
    visible = (fmr > 0) & (fnmr > 0)
    axes.set(xscale="log", yscale="log", xlim=_decades(fmr), ylim=_decades(fnmr))
    axes.step(fmr[visible], fnmr[visible], color=INK, linewidth=1.5, where="post")
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
    """Return axis limits that hold all rates above 0 and span at least two decades."""
    least = min(rates[rates > 0], default=1.0)
    return min(0.7 * float(least), 0.01), 1.4


def draw_histogram(histogram: "Histogram", points: Sequence[OperatingPoint]) -> str:
    """Draw a histogram of the similarities of both kinds of comparison, and the thresholds."""
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
