"""`likeness cohort build` and `likeness train-quality`: what a bundle knows of all faces."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import LikenessError
from service.terminal import err, fail, out, settings_from

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.embedder import Embedder
    from models.evaluation.captures import Captures

cohort_app = typer.Typer(
    help="The faces that stand for everybody, which scores are measured against.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False)]
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
    _check_place(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.cohort import write_cohort
    from models.training.cohort import build_cohort

    try:
        source, embedder = _open(bundle)
        captures = _capture(_one_of_each_folder(photos), embedder)
        made = build_cohort(captures)
        target = _target(source, embedder.bundle, out_folder)
        card = write_cohort(target, made, of or f"photos of {photos.name}")
        changes: dict[str, object] = {"cohort": card, "calibration": None}
        write_manifest(target, read_manifest(target).model_copy(update=changes))
    except LikenessError as error:
        fail(error.sentence)
    out.print(
        f"[bold]cohort[/]   {len(made.faces):,} faces of {int(captures.usable.sum()):,} photos, "
        f"in {target}",
        soft_wrap=True,
    )
    out.print(
        "Its thresholds are to be measured anew, on photos of people you know:\n"
        f"  likeness evaluate PHOTOS --bundle {target} --write",
        soft_wrap=True,
        markup=False,
    )


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
) -> None:
    """Teach a bundle what is wrong with a photo, and how well its person is recognised by it.

    The photos are blurred, masked and so on while it learns. A fifth of the people is kept apart
    to set from where on a photo counts as blurred or masked.
    """
    _check_place(write, out_folder, bundle)
    from models.bundle import read_manifest, write_manifest
    from models.crops import photos_in
    from models.photo.quality_head import write_quality
    from models.protocols import read_people
    from models.training import quality

    try:
        source, embedder = _open(bundle)
        labelled = read_people(photos)
        known = _capture([labelled.folder / image for image in labelled.images], embedder)
        more = [] if others is None else [_capture(photos_in(others), embedder)]
        head, judged = quality.train_quality((known, labelled.people), more)
        target = _target(source, embedder.bundle, out_folder)
        card = write_quality(target, head, of or f"photos of {photos.name}")
        write_manifest(target, read_manifest(target).model_copy(update={"quality": card}))
    except LikenessError as error:
        fail(error.sentence)
    for row in quality.judgement(head, judged):
        out.print(row, soft_wrap=True, markup=False)
    out.print(f"[bold]quality[/]  in {target}", soft_wrap=True)


def _check_place(write: bool, out_folder: Path | None, bundle: str | None) -> None:
    """Stop before anything is computed if it is not said where the result belongs."""
    if write and bundle is None:
        fail("Name the bundle that is to be changed by --bundle, or a folder for a copy by --out.")
    if write == (out_folder is not None):
        fail("Name a folder for a copy of the bundle by --out, or say --write.")
    if out_folder is not None and out_folder.exists() and any(out_folder.iterdir()):
        fail(f"{out_folder} exists already: name a new folder by --out, or remove it first.")


def _one_of_each_folder(photos: Path) -> list[Path]:
    """Return all photos of a folder; of the photos in folders below it, one of each folder.

    A folder is most often a person, and a cohort has one photo of each.
    """
    from models.crops import photos_in

    files = photos_in(photos)
    first = {file.parent: file for file in reversed(files)}
    return [file for file in files if file.parent == photos or first[file.parent] == file]


def _open(bundle: str | None) -> "tuple[str, Embedder]":
    """Load a bundle, on the CPU, as evaluation does."""
    import torch

    from models.bundle import choose, load_bundle
    from models.embedder import Embedder
    from models.encoder.device import choose_precision

    source, _ = choose(bundle)
    device = torch.device("cpu")
    loaded = load_bundle(source, weights=settings_from().weights)
    return source, Embedder(loaded, device, choose_precision(device, "auto"))


def _capture(files: list[Path], embedder: "Embedder") -> "Captures":
    from rich.progress import Progress

    from models.evaluation.captures import capture

    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("embedding", total=len(files))
        return capture(
            files,
            embedder,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )


def _target(source: str, bundle: "Bundle", out_folder: Path | None) -> Path:
    """Return the bundle's own folder, or that of a copy, which is made."""
    from models.evaluate import write_revised

    return write_revised(source, bundle.manifest, out_folder)
