"""`likeness evaluate`: measure a bundle on labelled photos, report, and set its thresholds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import LikenessError
from service.terminal import err, fail, out, require, settings_from

if TYPE_CHECKING:
    from models.report import Report

Folder = Annotated[
    Path,
    typer.Argument(
        exists=True,
        file_okay=False,
        help="Photos: a folder per person, or people.csv and pairs.csv, or those of --pairs.",
    ),
]


def evaluate(
    photos: Folder,
    pairs: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="LFW's pairs.txt, or a CSV a,b,same."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A CSV image,group: rates by group too."),
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Built-in name, directory or hub id; else as served.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="One sentence on what the photos are; kept in the bundle.")
    ] = None,
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
        bool, typer.Option("--embed-photos", help="Put the worst errors' photos into the page.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure errors on labelled photos, write a report, and set operating points.

    Photos take the service's own path: decode, detect, align, encode.
    """
    require("matplotlib")
    from rich.progress import Progress

    from models.bundle import choose, load_bundle
    from models.embedded import embed
    from models.evaluate import write_calibration
    from models.page import render
    from models.protocols import read_protocol, with_groups
    from models.report import make_report

    try:
        labelled = read_protocol(photos, pairs)
        if groups is not None:
            labelled = with_groups(labelled, groups)
        source, _ = choose(bundle)
        loaded = load_bundle(source, weights=settings_from().weights)
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("embedding", total=len(labelled.images))
            embedded = embed(
                labelled, loaded, lambda done, of: progress.update(task, completed=done, total=of)
            )
        err.print("measuring", style="dim")
        made = make_report(labelled, embedded, loaded, data or f"photos of {photos.name}")
        report.mkdir(parents=True, exist_ok=True)
        (report / "report.json").write_text(made.model_dump_json(indent=2) + "\n")
        (report / "report.html").write_text(render(made, embed_photos))
        if write:
            written = write_calibration(source, loaded, made.calibration)
            err.print(f"written  {written / 'bundle.json'}", soft_wrap=True, markup=False)
        if out_folder is not None:
            write_calibration(source, loaded, made.calibration, out_folder)
    except LikenessError as error:
        fail(error.sentence)
    if as_json:
        out.print_json(made.model_dump_json())
    else:
        print_report(made, report)


def print_report(report: "Report", folder: Path) -> None:
    """Print the rates and where the rest is."""
    from models.page import interval, percent

    measured = report.calibration
    out.print(f"[bold]{report.bundle}[/]  {measured.data}", soft_wrap=True)
    for row in report.table:
        point = row.point
        if point is None:
            out.print(f"FMR {row.fmr:.0e}  not supported: needs {row.needed:,} impostor pairs")
            continue
        held = "" if point.held_out_fmr is None else f", on others {percent(point.held_out_fmr)}"
        mark = "  extrapolated" if point.extrapolated else ""
        out.print(
            f"FMR {row.fmr:.0e}  similarity {point.threshold:.4f}  "
            f"FNMR {interval(point.fnmr)}  FMR {percent(point.fmr.value)}{held}{mark}",
            soft_wrap=True,
        )
    folds = report.fold_accuracy
    mean = "" if folds is None else f", over folds {folds.mean:.4f} ± {folds.standard_error:.4f}"
    out.print(
        f"accuracy {measured.accuracy:.4f}{mean}; EER {percent(measured.eer)}; "
        f"failure to enrol {percent(measured.failure_to_enrol)}",
        soft_wrap=True,
    )
    out.print(f"report   {folder / 'report.html'}", soft_wrap=True)
