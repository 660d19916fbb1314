"""Measure a bundle on labelled photos and set its operating points.

    python -m models.evaluate dlib --photos lfw_view1 --data "LFW View 1 test" --write

The accuracy comes from the pairs of the protocol; the operating points come from all pairs of
photos. The photos are decoded, detected and aligned exactly as the service does it.
`likeness evaluate` measures the same and also writes a report.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from models.bundle import (
    Bundle,
    Calibration,
    Manifest,
    folder_of,
    load_bundle,
    write_manifest,
)
from models.datasets.features import embed
from models.datasets.labelled import read_labelled
from models.errors import LikenessError
from models.evaluation.measure import calibrate, compare_photos, keep_unsupported_points


def write_calibration(
    source: str, bundle: Bundle, calibration: Calibration, out: Path | None = None
) -> Path:
    """Write a calibration into the bundle loaded from `source`, or into a copy of it at `out`.

    Returns the folder of the bundle. Raises LikenessError if `source` is an encoder without a
    `bundle.json` and `out` is not given.
    """
    return write_revised(
        source, bundle.manifest.model_copy(update={"calibration": calibration}), out
    )


def write_revised(source: str, manifest: Manifest, out: Path | None = None) -> Path:
    """Write a new manifest into the bundle at `source`, or into a copy of it at `out`.

    Returns the folder of the bundle. Raises LikenessError if `source` is an encoder without a
    `bundle.json` and `out` is not given.
    """
    folder = folder_of(source)
    has_manifest = (folder / "bundle.json").is_file()
    if not has_manifest and out is None:
        raise LikenessError(
            f"{source} is an encoder without a bundle.json; name a folder for the new bundle."
        )
    target = folder if out is None else out
    if not has_manifest:
        target.mkdir(parents=True, exist_ok=True)
        where = str(folder.resolve()) if folder.is_dir() else source
        encoder = manifest.encoder.model_copy(update={"source": where})
        manifest = manifest.model_copy(update={"encoder": encoder})
    elif target.resolve() != folder.resolve():
        shutil.copytree(folder, target, dirs_exist_ok=True)
    write_manifest(target, manifest)
    return target


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    bundle: Annotated[str, Argument(help="Name of a built-in bundle, or a folder.")],
    photos: Annotated[Path, Option(help="Folder of labelled photos.")],
    data: Annotated[str, Option(help="A sentence that says what the photos are.")],
    write: Annotated[
        bool, Option("--write", help="Write the calibration into the bundle.")
    ] = False,
) -> None:
    """Measure a bundle on labelled photos, and print its calibration."""
    loaded, labelled = load_bundle(bundle), read_labelled(photos)
    vectors = embed(labelled, loaded).vectors
    every = compare_photos(labelled, vectors, loaded.cohort)
    fresh = calibrate(labelled, vectors, data, every, loaded.cohort)
    calibration = keep_unsupported_points(fresh, loaded.manifest.calibration, every)
    print(calibration.model_dump_json(indent=2))
    if write:
        write_calibration(bundle, loaded, calibration)


if __name__ == "__main__":
    app()
