"""Render a report as one HTML page, with its plots as SVG."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from models.bundle import Calibration
from models.datasets.folders import read_photo_file
from models.decision import OperatingPoint, Rate
from models.errors import LikenessError
from models.evaluation.report import DetCurve, Histogram, Report, TableRow, WorstError
from models.photo.image import decode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GENUINE, IMPOSTOR, INK = "#1a7f5a", "#c2410c", "#475569"
_THUMBNAIL = 160

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #0f172a; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #e2e8f0 }
th { font-weight: 600; color: #475569 } small, .note { color: #64748b }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem }
.plots img { width: 100% }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0 } figure img { width: 48%; aspect-ratio: 1; object-fit: cover;
  background: #f1f5f9; font-size: .7rem }
figcaption { font-size: .8rem; overflow-wrap: anywhere } code { overflow-wrap: anywhere }
"""


def render(report: Report, embed_photos: bool = False) -> str:
    """Return the page; it links to the photos, or contains them with `embed_photos`."""
    measured = report.calibration
    points = [row.point for row in report.table if row.point is not None]
    # Points that were measured on other photos do not lie on this curve.
    on_curve = [point for point in points if not point.data]
    parts = [
        f"<h1>{escape(report.bundle)}</h1>",
        f"<p>{escape(measured.data)}<br><small>{measured.images:,} photos of "
        f"{measured.identities:,} people; {measured.genuine_pairs:,} comparisons of one person, "
        f"{measured.impostor_pairs:,} of two people. Bundle <code>{report.fingerprint[:16]}</code>"
        "</small></p>",
        _rates(report),
        f"<div class=plots>{_plot(draw_det(report.det, on_curve), 'DET curve')}"
        f"{_plot(draw_histogram(report.histogram, points), 'Histogram of similarities')}</div>",
        _accuracy(report),
        _groups(report),
        _conditions(report),
        _fusion(report),
        _rejects(report),
        _rejected(report),
        _worst(report, embed_photos),
        _footnotes(measured),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(report.bundle)}: evaluation</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


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


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table of plain texts, which are escaped."""
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _rates(report: Report) -> str:
    head = ("target FMR", "threshold", "FMR measured", "FMR on other people", "FNMR")
    note = (
        "The brackets hold the 95 % interval, from a bootstrap over people. “FMR on other "
        "people”: the threshold is set on one half of the people and the FMR is counted on the "
        "other half, both ways. Extrapolated: the point rests on fewer than 30 false matches. "
        "Kept: these photos did not set the threshold; the bundle had it before. A photo that "
        "could not be enrolled counts as a non-match."
    )
    rows = [_rate_row(row) for row in report.table]
    return f"<h2>Errors</h2>{table(head, rows)}<p class=note>{note}</p>"


def _rate_row(row: TableRow) -> tuple[str, ...]:
    point = row.point
    if point is None:
        reason = f"not supported: needs {row.needed:,} comparisons of two people"
        return (percent(row.fmr), reason, "", "", "")
    name = " ".join([percent(row.fmr), *(f"({mark})" for mark in marks(point))])
    unknown = "not set on these photos" if point.kept else "too few people"
    other = unknown if point.held_out_fmr is None else percent(point.held_out_fmr)
    return (name, f"{point.threshold:.4f}", interval(point.fmr), other, interval(point.fnmr))


def _accuracy(report: Report) -> str:
    measured, folds = report.calibration, report.fold_accuracy
    if folds is None:
        return ""
    kind = "the protocol's" if folds.given else "random"
    return (
        f"<h2>For comparison with LFW figures</h2><p>Accuracy over {len(folds.folds)} {kind} "
        f"folds, each at the best threshold of the other folds: <b>{folds.mean:.4f}</b> ± "
        f"{folds.standard_error:.4f} (standard error); at the best single threshold "
        f"{measured.accuracy:.4f}.</p>"
    )


def _groups(report: Report) -> str:
    if not report.groups:
        return ""
    head = ("group", "point", "photos", "not enrolled", "FMR within the group", "FNMR")
    rows = [
        (
            *(row.group, row.point, f"{row.images:,}", percent(row.failure_to_enrol)),
            *(interval(row.fmr), interval(row.fnmr)),
        )
        for row in report.groups
    ]
    note = (
        "The thresholds are the same for all groups. Both photos of a comparison are of one group."
    )
    return f"<h2>Groups</h2>{table(head, rows)}<p class=note>{note}</p>"


def _conditions(report: Report) -> str:
    if not report.conditions:
        return ""
    head = (
        "condition",
        "point",
        "comparisons of strangers",
        "FMR",
        "match rate, both photos",
        "match rate, one photo",
    )
    rows = [
        (
            *(row.condition.replace("_", " "), row.point, f"{row.impostor_pairs:,}"),
            interval(row.fmr),
            *(
                "" if rate is None else percent(rate)
                for rate in (row.match_rate, row.match_rate_one)
            ),
        )
        for row in report.conditions
    ]
    note = (
        "The condition is applied to ordinary photos. FMR: both photos show the condition. "
        "Match rate: the share of comparisons of one person that match, where both photos or "
        "only one photo show the condition."
    )
    return f"<h2>Conditions</h2>{table(head, rows)}<p class=note>{note}</p>"


def _fusion(report: Report) -> str:
    if not report.fusion:
        return ""
    head = ("probe photos", "templates", "point", "FMR", "FNMR")
    rows = [
        (str(row.probes), str(row.templates), row.point, percent(row.fmr), percent(row.fnmr))
        for row in report.fusion
    ]
    note = (
        "Photos of one person are fused into one probe or template. The threshold stays the same."
    )
    return f"<h2>Several photos of a person</h2>{table(head, rows)}<p class=note>{note}</p>"


def _rejects(report: Report) -> str:
    if not report.reject:
        return ""
    head = ("share of photos rejected, worst first", "FNMR of the other photos")
    rows = [(percent(row.share), percent(row.fnmr)) for row in report.reject]
    note = "Photos are ranked by the bundle's learned quality, at its default operating point."
    return f"<h2>Errors without the worst photos</h2>{table(head, rows)}<p class=note>{note}</p>"


def _rejected(report: Report) -> str:
    count = len(report.rejected)
    share = percent(report.calibration.failure_to_enrol)
    photo_table = table(("photo", "reason"), ((r.image, r.reason) for r in report.rejected[:100]))
    details = (
        f"<details><summary>Show these photos</summary>{photo_table}</details>" if count else ""
    )
    return f"<h2>Failure to enrol</h2><p>{count:,} photos, {share} of all.</p>{details}"


def _worst(report: Report, embed_photos: bool) -> str:
    titles = {
        "false_match": "Most similar photos of two people",
        "false_non_match": "Least similar photos of one person",
    }
    parts = []
    for kind, title in titles.items():
        figures = "".join(
            _pair(error, report.folder, embed_photos)
            for error in report.worst
            if error.kind == kind
        )
        parts.append(f"<h2>{title}</h2><div class=pairs>{figures}</div>")
    note = (
        ""
        if embed_photos
        else f"<p class=note>The page loads these photos from {escape(str(report.folder))}.</p>"
    )
    return "".join(parts) + note


def _pair(error: WorstError, folder: Path, embed_photos: bool) -> str:
    photos = "".join(
        f'<img loading="lazy" alt="{escape(name)}" src="{_source(folder / name, embed_photos)}"> '
        for name in (error.a, error.b)
    )
    names = f"{escape(error.a)}, {escape(error.b)}"
    return f"<figure>{photos}<figcaption>{error.similarity:.3f} {names}</figcaption></figure>"


def _source(path: Path, embed_photos: bool) -> str:
    if not embed_photos:
        return escape(path.absolute().as_uri())
    try:
        photo = Pillow.fromarray(decode(read_photo_file(path)).pixels)
    except (OSError, LikenessError):
        return ""
    photo.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _plot(svg: str, title: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{title}" src="data:image/svg+xml;base64,{data}">'


def _footnotes(measured: Calibration) -> str:
    probability = measured.probability
    cost = (
        "The bundle gives no probability, because there were too few comparisons to fit one."
        if probability is None
        else f"Cost of the calibrated probability on people it was not fitted on (Cllr): "
        f"{probability.cllr:.3f} bits; 0 is perfect, 1 is no better than a coin."
    )
    return f"<p class=note>Equal error rate: {percent(measured.eer)}. {cost}</p>"


def draw_det(curve: DetCurve, points: Sequence[OperatingPoint]) -> str:
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


def draw_histogram(histogram: Histogram, points: Sequence[OperatingPoint]) -> str:
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
