"""`likeness bundle new`: make a bundle of a face network of one's own."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import LikenessError
from service.cli.places import check_free
from service.cli.terminal import err, fail, settings_from, show

if TYPE_CHECKING:
    from models.encoder.pixels import PixelSpec
    from models.evaluation.conventions import FaceSet, Separation

bundle_app = typer.Typer(help="Make bundles.", no_args_is_help=True)

# Public-domain portraits that come with packages which training and evaluation use.
_PORTRAITS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
_MOST_FACES = 200


class Channels(StrEnum):
    auto = "auto"
    rgb = "rgb"
    bgr = "bgr"


@bundle_app.callback()
def _bundle() -> None:
    """Make bundles."""


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
            help="Photos to try it on: a folder per person, or of different people. "
            "Else two portraits that come with other packages, if these are installed.",
        ),
    ] = None,
    channels: Annotated[
        Channels, typer.Option(help="Order of the colours; `auto` tries both.")
    ] = Channels.auto,
    mean: Annotated[
        float | None, typer.Option(help="Subtracted from 0 to 255. Else the usual ones are tried.")
    ] = None,
    scale: Annotated[float | None, typer.Option(min=1e-3, help="Then divided by this.")] = None,
    mirror: Annotated[
        bool, typer.Option(help="Add the features of the mirror image: better, at twice the work.")
    ] = True,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, shown by GET /model.")
    ] = None,
    trained_on: Annotated[str, typer.Option(help="What it was trained on, in a sentence.")] = (
        "not stated by whoever made this bundle"
    ),
) -> None:
    """Make a bundle of a network that takes an aligned face and gives one vector.

    Any network for faces aligned as ArcFace's are, of 112 pixels most often, will do. The few
    usual ways to scale pixels are tried, and the one that tells faces apart best is taken.
    """
    if (mean is None) != (scale is None):
        fail("Give --mean and --scale together, or neither.")
    check_free(out_folder)
    from models.bundle import write_onnx_bundle
    from models.encoder.onnx import OnnxEncoder
    from models.encoder.pixels import PixelSpec
    from models.evaluation.conventions import check_outputs, compare_conventions

    encoder = OnnxEncoder.load(network)
    pixels = PixelSpec(encoder.image_size, margin=0.0, mirror=mirror, template="arcface")
    faces, of_what = _faces(photos, pixels)
    ways = compare_conventions(encoder, faces, pixels)
    ways = [way for way in ways if channels in ("auto", way.pixels.channels)]
    if mean is not None and scale is not None:
        ways = [_as_told(way, mean, scale) for way in ways[:1]]
    chosen = check_outputs(encoder, faces, ways[0].pixels).pixels
    write_onnx_bundle(out_folder, network, encoder, chosen, licence, trained_on)
    if mean is None:
        show(f"Tried on {of_what}. Cosines of one face and of two; the first is taken:")
        for way in ways:
            show(
                f"  {way.title:25} {way.genuine:.2f}  {way.impostor:.2f}   (d' {way.distance:.2f})"
            )
    show(
        f"{out_folder}: {encoder.width} numbers a face, {chosen.channels.upper()}, "
        f"licence {licence or 'not stated'}",
        title="bundle ",
    )
    show(
        "It has no operating points yet, so /verify needs a threshold. Measure it on photos of "
        "people you know:"
    )
    show(f"  likeness evaluate PHOTOS --bundle {out_folder} --write")


def _as_told(way: "Separation", mean: float, scale: float) -> "Separation":
    from dataclasses import replace

    told = replace(way.pixels, mean=(mean / 255,) * 3, std=(scale / 255,) * 3)
    return replace(way, title="as told", pixels=told)


def _faces(photos: Path | None, pixels: "PixelSpec") -> "tuple[FaceSet, str]":
    """Return faces to try a network on, and what they are in words."""
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
            f"At least two photos with faces are needed, and {len(faces)} of {len(files)} has one; "
            "name a folder with more by --photos."
        )
    crops = [crop for _, crop in faces]
    folders = {file.parent: number for number, (file, _) in enumerate(faces)}
    people = np.array([folders[file.parent] for file, _ in faces])
    if photos is not None and 1 < len(folders) < len(faces):
        tried, what = FaceSet(crops, people), f"{len(faces)} photos of {len(folders)} people"
    else:
        tried, what = vary_crops(crops), f"{len(faces)} faces, four ways each"
    few = len(np.unique(tried.people)) < ENOUGH
    return tried, f"{what}; too few to be sure, name more by --photos" if few else what


def _spread(files: list[Path], most: int) -> list[Path]:
    step = max(1, -(-len(files) // most))
    return files[::step]


def _portraits() -> list[Path]:
    """Return public-domain portraits out of installed packages, without importing those."""
    from importlib.util import find_spec

    found = []
    for package, inside in _PORTRAITS:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            path = Path(spec.submodule_search_locations[0]) / inside
            found += [path] if path.is_file() else []
    if len(found) < len(_PORTRAITS):
        raise LikenessError(
            "There are no faces to try the network on: name a folder of photos of different "
            "people, or of a folder per person, by --photos."
        )
    return found
