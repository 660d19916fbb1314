"""Measure a bundle on labelled photos and set its operating points.

    python -m models.evaluate dlib --photos lfw_view1 --data "LFW View 1 test" --write

Accuracy comes from the protocol's pairs; operating points come from all pairs of the photos.
Photos go through the service's own decoding, detection and alignment. `likeness evaluate`
does the same and writes a report.
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
    """Write the calibration into the bundle loaded from `source`, or into a copy at `out`.

    Raises LikenessError for a bare encoder without `out`: it has no `bundle.json` to write.
    """
    return write_revised(
        source, bundle.manifest.model_copy(update={"calibration": calibration}), out
    )


def write_revised(source: str, manifest: Manifest, out: Path | None = None) -> Path:
    """Write another manifest into the bundle at `source`, or into a copy of it at `out`.

    Returns where it is. Raises LikenessError for a bare encoder without `out`.
    """
    folder = folder_of(source)
    bare = not (folder / "bundle.json").is_file()
    if bare and out is None:
        raise LikenessError(f"{source} is an encoder without a bundle.json; name a folder for one.")
    target = folder if out is None else out
    if bare:
        target.mkdir(parents=True, exist_ok=True)
        where = str(folder.resolve()) if folder.is_dir() else source
        encoder = manifest.encoder.model_copy(update={"source": where})
        manifest = manifest.model_copy(update={"encoder": encoder})
    elif target.resolve() != folder.resolve():
        shutil.copytree(folder, target, dirs_exist_ok=True)
    write_manifest(target, manifest)
    return target


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", help="name of a built-in bundle, or its directory")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--data", required=True, help="one sentence on what the photos are")
    parser.add_argument("--write", action="store_true", help="write the result into the bundle")
    arguments = parser.parse_args(words)
    bundle = load_bundle(arguments.bundle)
    labelled = read_labelled(arguments.photos)
    vectors = embed_photos(labelled, bundle)
    every = compare_photos(labelled, vectors, bundle.cohort)
    fresh = calibrate(labelled, vectors, arguments.data, every, bundle.cohort)
    calibration = keep_unsupported_points(fresh, bundle.manifest.calibration, every)
    print(calibration.model_dump_json(indent=2))
    if arguments.write:
        write_calibration(arguments.bundle, bundle, calibration)


if __name__ == "__main__":
    main()
