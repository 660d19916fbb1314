"""`likeness bundle new`: make a bundle from your own face network."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import LikenessError
from service.cli.terminal import check_new, err, fail, settings_from, show

if TYPE_CHECKING:
    from models.encoder.pixels import PixelSpec
    from models.evaluation.conventions import FaceSet, Separation

bundle_app = typer.Typer(help="Make bundles.", no_args_is_help=True)

# Public-domain portraits inside packages that training and evaluation use.
_PORTRAITS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
_MOST_FACES = 200


class Channels(StrEnum):
    """Name an order of the colours."""

    auto = "auto"
    rgb = "rgb"
    bgr = "bgr"


@bundle_app.callback()
def _bundle() -> None:
    """Keep `new` as a subcommand, although it is the only one."""


@bundle_app.command()
def new(
    network: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The network, an ONNX file.")
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the bundle.")],
    photos: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Photos to try the network on: one folder per person, or photos of different "
            "people. Default: two portraits from other packages, if they are installed.",
        ),
    ] = None,
    channels: Annotated[
        Channels, typer.Option(help="Order of the colours. `auto` tries both.")
    ] = Channels.auto,
    mean: Annotated[
        float | None,
        typer.Option(
            help="Number to subtract from pixels of 0 to 255. Default: try the usual ones."
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=1e-3, help="Number to divide the difference by.")
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option(help="Add the features of the mirror image: better results, twice the work."),
    ] = True,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights; GET /model shows it.")
    ] = None,
    trained_on: Annotated[str, typer.Option(help="One sentence about the training data.")] = (
        "not stated by the maker of this bundle"
    ),
) -> None:
    """Make a bundle from a network that turns an aligned face into one vector.

    The network has to take faces aligned as for ArcFace, usually 112 by 112 pixels. The command
    tries the usual ways to scale pixels and takes the one that separates people best.
    """
    if (mean is None) != (scale is None):
        fail("Give both --mean and --scale, or neither.")
    check_new(out_folder)
    from models.bundle import write_onnx_bundle
    from models.encoder.onnx import OnnxEncoder
    from models.encoder.pixels import PixelSpec
    from models.evaluation.conventions import check_outputs, compare_conventions

    encoder = OnnxEncoder.load(network)
    pixels = PixelSpec(encoder.image_size, margin=0.0, mirror=mirror, template="arcface")
    faces, source = _faces(photos, pixels)
    ways = compare_conventions(encoder, faces, pixels)
    ways = [way for way in ways if channels in ("auto", way.pixels.channels)]
    if mean is not None and scale is not None:
        ways = [_with_scaling(way, mean, scale) for way in ways[:1]]
    chosen = check_outputs(encoder, faces, ways[0].pixels).pixels
    write_onnx_bundle(out_folder, network, encoder, chosen, licence, trained_on)
    if mean is None:
        show(f"Tried on {source}. Cosines of one person and of two people; the first line is used:")
        for way in ways:
            show(
                f"  {way.title:25} {way.genuine:.2f}  {way.impostor:.2f}   (d' {way.distance:.2f})"
            )
    show(
        f"{out_folder}: {encoder.width} numbers per face, {chosen.channels.upper()}, "
        f"licence {licence or 'not stated'}",
        title="bundle ",
    )
    show(
        "It has no operating points yet, so /verify needs a threshold. Measure them on photos of "
        "people you know:"
    )
    show(f"  likeness evaluate PHOTOS --bundle {out_folder} --write")


def _with_scaling(way: "Separation", mean: float, scale: float) -> "Separation":
    from dataclasses import replace

    pixels = replace(way.pixels, mean=(mean / 255,) * 3, std=(scale / 255,) * 3)
    return replace(way, title="--mean and --scale", pixels=pixels)


def _faces(photos: Path | None, pixels: "PixelSpec") -> "tuple[FaceSet, str]":
    """Return faces to try a network on, and a description of them."""
    import numpy as np

    from models.datasets.crops import Cutter
    from models.datasets.folders import photos_in
    from models.evaluation.conventions import ENOUGH, FaceSet, vary_crops
    from models.photo.detectors import find_detector

    detector = find_detector("yunet", pixels.template, settings_from().weights)
    files = _portraits() if photos is None else _spread(photos_in(photos), _MOST_FACES)
    with Cutter(detector, pixels.framing, workers=1) as cutter:
        cut = list(zip(files, cutter(files), strict=True))
    faces = [(file, crop) for file, crop in cut if not isinstance(crop, str)]
    for file, code in cut:
        if isinstance(code, str):
            show(f"not used  {file}  {code}", to=err)
    if len(faces) < 2:
        raise LikenessError(
            f"At least two photos with faces are needed; {len(faces)} of {len(files)} photos have "
            "one. Name a folder with more photos with --photos."
        )
    crops = [crop for _, crop in faces]
    folders = {file.parent: number for number, (file, _) in enumerate(faces)}
    people = np.array([folders[file.parent] for file, _ in faces])
    if photos is not None and 1 < len(folders) < len(faces):
        tried, description = FaceSet(crops, people), f"{len(faces)} photos of {len(folders)} people"
    else:
        tried, description = vary_crops(crops), f"{len(faces)} faces, four ways each"
    few = len(np.unique(tried.people)) < ENOUGH
    return (
        tried,
        f"{description}; too few to be sure, name more with --photos" if few else description,
    )


def _spread(files: list[Path], most: int) -> list[Path]:
    step = max(1, -(-len(files) // most))
    return files[::step]


def _portraits() -> list[Path]:
    """Return public-domain portraits from installed packages, without importing them."""
    from importlib.util import find_spec

    paths = []
    for package, inside in _PORTRAITS:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            path = Path(spec.submodule_search_locations[0]) / inside
            paths += [path] if path.is_file() else []
    if len(paths) < len(_PORTRAITS):
        raise LikenessError(
            "There are no faces to try the network on. Name a folder with --photos: photos of "
            "different people, or one folder per person."
        )
    return paths
