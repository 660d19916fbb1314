"""`likeness train-quality`: teach a bundle to judge how usable a photo is."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.captures import (
    InPlace,
    OutFolder,
    PhotosNote,
    capture_photos,
    open_embedder,
)
from service.cli.terminal import (
    BundleName,
    Outside,
    check_target,
    exit_status,
    print_left_out,
    show,
)


def train_quality(
    photos: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Photos of known people: one folder per person, or a CSV path,identity.",
        ),
    ],
    others: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="More photos, of people without names."),
    ] = None,
    bundle: BundleName = None,
    data: PhotosNote = None,
    out_folder: OutFolder = None,
    write: InPlace = False,
    outside: Outside = False,
) -> None:
    """Train the part of a bundle that detects blur and masks, and predicts how usable a photo is.

    The training blurs, masks and otherwise degrades the photos. One person in five is kept out
    of it, to set the limits from which a photo counts as blurred or masked.
    """
    check_target(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.datasets.folders import contents_of, require_photos
    from models.datasets.labelled import read_people
    from models.evaluate import write_revised
    from models.photo.quality_head import write_quality
    from models.training import quality

    labelled = read_people(photos, outside)
    unnamed = None if others is None else require_photos(contents_of(others))
    unusable = [*labelled.unusable, *(() if unnamed is None else unnamed.unusable)]
    print_left_out(unusable, [*labelled.notes, *(() if unnamed is None else unnamed.notes())])
    source, embedder = open_embedder(bundle)
    known = capture_photos([labelled.folder / image for image in labelled.images], embedder)
    more = [] if unnamed is None else [capture_photos(unnamed.photos, embedder)]
    head, judged = quality.train_quality((known, labelled.people), more)
    target = write_revised(source, embedder.bundle.manifest, out_folder)
    card = write_quality(target, head, data or f"photos of {photos.name}")
    write_manifest(target, read_manifest(target).model_copy(update={"quality": card}))
    for row in quality.summary_lines(head, judged):
        show(row)
    show(f"in {target}", title="quality")
    exit_status(unusable)
