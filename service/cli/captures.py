"""`likeness cohort build` and `likeness train-quality`: what a bundle knows of all faces."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.datasets.folders import FolderContents, contents_of, require_photos
from models.decision import CONDITION_NAMES, ConditionName
from service.cli.places import check_target
from service.cli.terminal import (
    Outside,
    bar,
    exit_status,
    print_left_out,
    settings_from,
    show,
)

if TYPE_CHECKING:
    from models.embedder import Embedder
    from models.evaluation.captures import Captures

cohort_app = typer.Typer(
    help="The faces that stand for everybody, which scores are measured against.",
    no_args_is_help=True,
)

Source = Annotated[
    str | None, typer.Option(help="Built-in name, directory or hub id; else as served.")
]
Of = Annotated[str | None, typer.Option(help="One sentence on the photos; kept in the bundle.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for a new copy of the bundle.")]
Write = Annotated[bool, typer.Option("--write", help="Write into the bundle itself.")]


@cohort_app.callback()
def cohort() -> None:
    """Keep `build` a word of its own."""


@cohort_app.command("build")
def build(
    photos: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="Photos of some thousand people; no names needed."
        ),
    ],
    bundle: Source = None,
    of: Of = None,
    out_folder: Out = None,
    write: Write = False,
) -> None:
    """Make a cohort of photos of many people like those who will stand before the camera.

    What is kept are means of eight people's faces or more. Vectors and galleries stay as they are;
    thresholds do not hold any longer, and have to be measured anew by `likeness evaluate`. Of
    photos in folders below, one of each folder is taken: a folder is most often a person.
    """
    check_target(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.cohort import write_cohort
    from models.evaluate import write_revised
    from models.training.cohort import build_cohort

    contents = require_photos(contents_of(photos))
    print_left_out(contents.unusable, contents.notes())
    source, embedder = open_embedder(bundle)
    captures = capture_photos(_one_of_each_folder(contents), embedder)
    made = build_cohort(captures)
    target = write_revised(source, embedder.bundle.manifest, out_folder)
    card = write_cohort(target, made, of or f"photos of {photos.name}")
    changes: dict[str, object] = {"cohort": card, "calibration": None}
    write_manifest(target, read_manifest(target).model_copy(update=changes))
    show(
        f"{len(made.faces):,} faces of {int(captures.usable.sum()):,} photos, in {target}",
        title="cohort ",
    )
    show("Its thresholds are to be measured anew, on photos of people you know:")
    show(f"  likeness evaluate PHOTOS --bundle {target} --write")
    exit_status(contents.unusable)


def train_quality(
    photos: Annotated[
        Path,
        typer.Argument(
            exists=True, help="Photos of known people: a folder per person, or a CSV path,identity."
        ),
    ],
    others: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Photos of anybody besides, without names."
        ),
    ] = None,
    bundle: Source = None,
    of: Of = None,
    out_folder: Out = None,
    write: Write = False,
    outside: Outside = False,
) -> None:
    """Teach a bundle what is wrong with a photo, and how well its person is recognised by it.

    The photos are blurred, masked and so on while it learns. A fifth of the people is kept apart
    to set from where on a photo counts as blurred or masked.
    """
    check_target(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.datasets.labelled import read_people
    from models.evaluate import write_revised
    from models.photo.quality_head import write_quality
    from models.training import quality

    labelled = read_people(photos, outside)
    apart = None if others is None else require_photos(contents_of(others))
    unusable = [*labelled.unusable, *(() if apart is None else apart.unusable)]
    print_left_out(unusable, [*labelled.notes, *(() if apart is None else apart.notes())])
    source, embedder = open_embedder(bundle)
    known = capture_photos([labelled.folder / image for image in labelled.images], embedder)
    more = [] if apart is None else [capture_photos(apart.photos, embedder)]
    head, judged = quality.train_quality((known, labelled.people), more)
    target = write_revised(source, embedder.bundle.manifest, out_folder)
    card = write_quality(target, head, of or f"photos of {photos.name}")
    write_manifest(target, read_manifest(target).model_copy(update={"quality": card}))
    for row in quality.summary_lines(head, judged):
        show(row)
    show(f"in {target}", title="quality")
    exit_status(unusable)


def _one_of_each_folder(contents: FolderContents) -> list[Path]:
    """Return all photos of a folder; of the photos in folders below it, one of each folder.

    A folder is most often a person, and a cohort has one photo of each.
    """
    files = contents.photos
    first = {file.parent: file for file in reversed(files)}
    return [file for file in files if file.parent == contents.folder or first[file.parent] == file]


def open_embedder(bundle: str | None) -> "tuple[str, Embedder]":
    """Load a bundle, on the CPU, as evaluation does; return where it is, too."""
    import torch

    from models.bundle import choose_bundle, load_bundle
    from models.embedder import Embedder
    from models.encoder.device import choose_precision

    source, _ = choose_bundle(bundle)
    device = torch.device("cpu")
    loaded = load_bundle(source, weights=settings_from().weights)
    return source, Embedder(loaded, device, choose_precision(device, "auto"))


def capture_photos(
    files: Sequence[Path],
    embedder: "Embedder",
    conditions: Sequence[ConditionName] = CONDITION_NAMES,
) -> "Captures":
    """Embed photos as they are and under conditions, and show how far it is."""
    from models.evaluation.captures import embed_captures

    with bar("under conditions" if conditions else "embedding") as progress:
        return embed_captures(files, embedder, conditions, progress)
