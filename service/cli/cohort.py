"""`likeness cohort build`: give a bundle the faces that scores are measured against."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.captures import (
    InPlace,
    OutFolder,
    PhotosNote,
    capture_photos,
    open_embedder,
)
from service.cli.terminal import BundleName, check_target, exit_status, print_left_out, show

if TYPE_CHECKING:
    from models.datasets.folders import FolderContents

cohort_app = typer.Typer(
    help="Make the cohort: average faces that scores are measured against.",
    no_args_is_help=True,
)


@cohort_app.callback()
def cohort() -> None:
    """Keep `build` as a subcommand, although it is the only one."""


@cohort_app.command()
def build(
    photos: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Photos of a thousand people or more; their names are not needed.",
        ),
    ],
    bundle: BundleName = None,
    data: PhotosNote = None,
    out_folder: OutFolder = None,
    write: InPlace = False,
) -> None:
    """Make a cohort from photos of many people who look like your users.

    The bundle keeps averages of eight or more faces, no single face. Vectors and galleries stay
    as they are. The thresholds of the bundle are removed, since they no longer hold: measure
    them again with `likeness evaluate`. From each folder below PHOTOS one photo is used, since
    a folder usually is a person.
    """
    check_target(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.cohort import write_cohort
    from models.datasets.folders import contents_of, require_photos
    from models.evaluate import write_revised
    from models.training.cohort import build_cohort

    contents = require_photos(contents_of(photos))
    print_left_out(contents.unusable, contents.notes())
    source, embedder = open_embedder(bundle)
    captures = capture_photos(_one_of_each_folder(contents), embedder)
    built = build_cohort(captures)
    target = write_revised(source, embedder.bundle.manifest, out_folder)
    card = write_cohort(target, built, data or f"photos of {photos.name}")
    changes: dict[str, object] = {"cohort": card, "calibration": None}
    write_manifest(target, read_manifest(target).model_copy(update=changes))
    show(
        f"{len(built.faces):,} faces from {int(captures.usable.sum()):,} photos, in {target}",
        title="cohort ",
    )
    show("Now measure its thresholds on photos of people you know:")
    show(f"  likeness evaluate PHOTOS --bundle {target} --write")
    exit_status(contents.unusable)


def _one_of_each_folder(contents: "FolderContents") -> list[Path]:
    """Return all photos directly in a folder, and one photo of each folder below it."""
    files = contents.photos
    first = {file.parent: file for file in reversed(files)}
    return [file for file in files if file.parent == contents.folder or first[file.parent] == file]
