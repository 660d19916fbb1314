"""`likeness evaluate`: measure a bundle on labelled photos, and set its thresholds."""

from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from models.datasets.tables import UNREADABLE, RejectedFile
from models.decision import CONDITION_NAMES
from models.errors import ImageError
from service.cli.captures import PhotosNote, capture_photos, open_embedder
from service.cli.terminal import (
    BundleName,
    Outside,
    bar,
    check_bundle_named,
    check_folder,
    err,
    exit_status,
    fail,
    print_left_out,
    print_rejected,
    require,
    show,
    show_json,
)

if TYPE_CHECKING:
    from models.bundle import Bundle, Calibration
    from models.datasets.labelled import LabelledSet
    from models.embedder import Embedder
    from models.evaluation.report import ConditionCaptures, Report
    from models.evaluation.strangers import GroupedPhotos, StrangerSet

R = TypeVar("R")
K = TypeVar("K")

Folder = Annotated[
    Path | None,
    typer.Argument(
        exists=True,
        file_okay=False,
        help="Folder of photos: one folder per person, or people.csv and pairs.csv, or the photos "
        "of --pairs. Without it, only --strangers are measured, at the operating points of the "
        "bundle.",
    ),
]

# Measuring the conditions on so many photos takes a minute or two.
_MOST_DEGRADED = 2000


def evaluate(
    photos: Folder = None,
    pairs: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="LFW's pairs.txt, or a CSV a,b,same."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A CSV image,group, to measure the rates by group too.",
        ),
    ] = None,
    strangers: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A CSV next to photos of different, unnamed people, with a column `image` and "
            "columns of groups, to measure false matches by group and under each condition.",
        ),
    ] = None,
    conditions: Annotated[
        bool,
        typer.Option(help="Measure how blur, masks, dark glasses and so on change the rates."),
    ] = True,
    bundle: BundleName = None,
    data: PhotosNote = None,
    report: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")] = Path(
        "evaluation"
    ),
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write a calibrated copy of the bundle here.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the calibration into the bundle itself.")
    ] = False,
    embed_photos: Annotated[
        bool,
        typer.Option("--embed-photos", help="Put the photos of the worst errors into the page."),
    ] = False,
    keep_points: Annotated[
        bool,
        typer.Option(
            help="Measure at the operating points of the bundle and keep them. Only the rates by "
            "group, under conditions and for several photos are written, if there is more data "
            "than before."
        ),
    ] = False,
    outside: Outside = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure the error rates on labelled photos, write a report, and set operating points.

    Photos are decoded, aligned and encoded as in the service. Rows and files that cannot be used
    are listed, and the exit status is then 1.
    """
    require("matplotlib")
    check_bundle_named(write, bundle)
    if photos is None and strangers is None:
        fail("Name a folder of photos of people you know, or give --strangers, or both.")
    for place in (report, *(() if out_folder is None else (out_folder,))):
        check_folder(place)
    from models.evaluation.page import render
    from models.evaluation.report import measure_strangers, own_calibration

    labelled = None if photos is None else _read(photos, pairs, groups, outside)
    grouped = None if strangers is None else _read_strangers(strangers, outside)
    source, embedder = open_embedder(bundle)
    loaded = embedder.bundle
    if keep_points or labelled is None:
        own_calibration(loaded)  # fails here, before minutes of work
    stranger_set = None if grouped is None else _strangers(grouped, embedder, conditions)
    full: Report | None = None
    report.mkdir(parents=True, exist_ok=True)
    if labelled is None:
        assert stranger_set is not None
        measured, to_write = measure_strangers(loaded, stranger_set)
    else:
        captures = _under_conditions(labelled, embedder) if conditions else None
        full = _measure(labelled, loaded, captures, data, stranger_set, keep_points)
        measured, to_write = full.calibration, full.to_write
        (report / "report.html").write_text(render(full, embed_photos), "utf-8")
    json_text = (full or measured).model_dump_json(indent=2)
    (report / "report.json").write_text(json_text + "\n", "utf-8")
    _write(source, loaded, to_write, write, out_folder)
    if as_json:
        show_json(json_text)
    else:
        if full is not None:
            print_report(full, report)
        print_rates(full or measured)
    unreadable = [] if full is None else _unreadable_images(full)
    print_rejected(unreadable)
    left_out = (each.unusable for each in (labelled, grouped) if each is not None)
    exit_status([*unreadable, *chain.from_iterable(left_out)])


def _unreadable_images(report: "Report") -> list[RejectedFile]:
    """Return the files that count as failures to enrol, but are not images at all."""
    codes = {UNREADABLE, *(kind.code for kind in ImageError.__subclasses__())}
    sentence = "This is not a readable image. It counts as a failure to enrol; remove it."
    return [
        RejectedFile(row.image, row.reason, sentence)
        for row in report.rejected
        if row.reason in codes
    ]


def _write(
    source: str, bundle: "Bundle", calibration: "Calibration", write: bool, out_folder: Path | None
) -> None:
    """Write the calibration into the bundle, into a copy, both or neither."""
    from models.evaluate import write_calibration

    if write:
        written = write_calibration(source, bundle, calibration)
        show(f"written  {written / 'bundle.json'}", to=err)
    if out_folder is not None:
        write_calibration(source, bundle, calibration, out_folder)


def _read(photos: Path, pairs: Path | None, groups: Path | None, outside: bool) -> "LabelledSet":
    from models.datasets.labelled import read_protocol, with_groups

    labelled = read_protocol(photos, pairs, outside)
    if groups is not None:
        labelled = with_groups(labelled, groups)
    print_left_out(labelled.unusable, labelled.notes)
    return labelled


def _read_strangers(path: Path, outside: bool) -> "GroupedPhotos":
    from models.evaluation.strangers import read_grouped

    grouped = read_grouped(path.parent, path, outside=outside)
    print_left_out(grouped.unusable, ())
    return grouped


def _under_conditions(labelled: "LabelledSet", embedder: "Embedder") -> "ConditionCaptures | None":
    """Embed some of the photos under each condition, if every photo has a name."""
    import numpy as np

    from models.evaluation.report import ConditionCaptures

    if not labelled.complete:
        return None
    count = len(labelled.images)
    places = np.arange(count)
    if count > _MOST_DEGRADED:
        random = np.random.default_rng(0)
        places = np.sort(random.choice(count, _MOST_DEGRADED, replace=False))
    files = [labelled.folder / labelled.images[at] for at in places]
    return ConditionCaptures(places, capture_photos(files, embedder))


def _measure(
    labelled: "LabelledSet",
    bundle: "Bundle",
    captures: "ConditionCaptures | None",
    data: str | None,
    strangers: "StrangerSet | None",
    keep_points: bool,
) -> "Report":
    """Embed labelled photos and measure."""
    from models.datasets.features import embed
    from models.evaluation.report import make_report

    with bar("embedding") as progress:
        embedded = embed(labelled, bundle, progress)
    show("measuring", style="dim", to=err)
    sentence = data or f"photos of {labelled.folder.name}"
    return make_report(labelled, embedded, bundle, sentence, captures, strangers, keep_points)


def _strangers(photos: "GroupedPhotos", embedder: "Embedder", conditions: bool) -> "StrangerSet":
    from models.evaluation.strangers import FEWEST_PHOTOS, StrangerSet

    files = [photos.folder / image for image in photos.images]
    captures = capture_photos(files, embedder, CONDITION_NAMES if conditions else ())
    stranger_set = StrangerSet(photos, captures, f"strangers in {photos.name}")
    if small := [f"{name} ({count})" for name, count in stranger_set.small_groups().items()]:
        show(f"too few photos for a rate, which takes {FEWEST_PHOTOS}: {', '.join(small)}", to=err)
    return stranger_set


def print_rates(measured: "Report | Calibration") -> None:
    """Print the false match rates by group and condition, and the rates of several photos."""
    from models.evaluation.page import percent

    for group, of_group in _by(measured.groups, lambda row: row.group):
        rates = (
            f"{row.point} {percent(row.fmr.value)}"
            + ("" if row.fnmr is None else f" (FNMR {percent(row.fnmr.value)})")
            for row in of_group
            if row.fmr is not None
        )
        show(f"FMR, {group}: {', '.join(rates)}")
    for condition, under in _by(measured.conditions, lambda row: row.condition):
        rates = (
            f"{row.point} {percent(row.fmr.value)}"
            + ("" if row.match_rate is None else f" (one person {percent(row.match_rate)})")
            for row in under
        )
        show(f"FMR, both {condition}: {', '.join(rates)}")
    for counts, fused in _by(measured.fusion, lambda row: (row.probes, row.templates)):
        rates = (f"{row.point} FNMR {percent(row.fnmr)} FMR {percent(row.fmr)}" for row in fused)
        name = f"{counts[0]} photos, {counts[1]} templates"
        show(f"{name}: {', '.join(rates)}")


def _by(rows: Sequence[R], key: Callable[[R], K]) -> list[tuple[K, list[R]]]:
    """Group neighbouring rows by a key."""
    return [(name, list(some)) for name, some in groupby(rows, key)]


def print_report(report: "Report", folder: Path) -> None:
    """Print the rates and where the report is."""
    from models.evaluation.page import interval, marks, percent

    measured = report.calibration
    show(measured.data, title=report.bundle)
    for row in report.table:
        point = row.point
        if point is None:
            show(f"FMR {row.fmr:.0e}  not supported: needs {row.needed:,} impostor pairs")
            continue
        held_out = (
            "" if point.held_out_fmr is None else f", on others {percent(point.held_out_fmr)}"
        )
        mark = "".join(f"  {mark}" for mark in marks(point))
        show(
            f"FMR {row.fmr:.0e}  similarity {point.threshold:.4f}  "
            f"FNMR {interval(point.fnmr)}  FMR {percent(point.fmr.value)}{held_out}{mark}"
        )
    folds = report.fold_accuracy
    mean = "" if folds is None else f", over folds {folds.mean:.4f} ± {folds.standard_error:.4f}"
    show(
        f"accuracy {measured.accuracy:.4f}{mean}; EER {percent(measured.eer)}; "
        f"failure to enrol {percent(measured.failure_to_enrol)}"
    )
    show(f"report   {folder / 'report.html'}")
