"""Measure a bundle on labelled photos and set its operating points.

    python -m models.evaluate dlib --photos lfw_view1 --data "LFW View 1 test" --write

The accuracy comes from the pairs of the protocol; the operating points come from all pairs of
photos. The photos are decoded, detected and aligned exactly as the service does it.
`likeness evaluate` measures the same and also writes a report.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from models.bundle import (
    Bundle,
    Calibration,
    Manifest,
    folder_of,
    load_bundle,
    write_manifest,
)
from models.datasets.features import embed_photos
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure the bundle, print the calibration, and write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", help="name of a built-in bundle, or a folder")
    parser.add_argument("--photos", type=Path, required=True, help="folder of labelled photos")
    parser.add_argument("--data", required=True, help="a sentence that says what the photos are")
    parser.add_argument(
        "--write", action="store_true", help="write the calibration into the bundle"
    )
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.bundle)
    labelled = read_labelled(options.photos)
    vectors = embed_photos(labelled, bundle)
    every = compare_photos(labelled, vectors, bundle.cohort)
    fresh = calibrate(labelled, vectors, options.data, every, bundle.cohort)
    calibration = keep_unsupported_points(fresh, bundle.manifest.calibration, every)
    print(calibration.model_dump_json(indent=2))
    if options.write:
        write_calibration(options.bundle, bundle, calibration)


if __name__ == "__main__":
    main()
