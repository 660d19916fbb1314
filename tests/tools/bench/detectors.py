"""Compare the detectors: `python -m tests.tools.bench.detectors [--photos DIR]`.

The first table is the time to find a face on one core, by the size of the face in a photo of
1600 x 1200 pixels. With `--photos`, a folder of photos with one face each, the second table is
the number of photos in which a detector finds no face.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.datasets.crops import Cutter
from models.datasets.folders import photos_in
from models.errors import LikenessError
from models.photo.detectors import DetectorSource
from models.photo.face import Detector, Framing, Pixels, find_face
from models.weights import has_dlib
from tests.photos import open_photo
from tests.tools.bench.machine import describe_machine, markdown
from tests.tools.bench.stages import ROUNDS, timed

WIDTH, HEIGHT = 1600, 1200
SHARES = (("a selfie", 0.4), ("a third of the height", 0.25), ("a twentieth", 0.05))


def sources() -> tuple[DetectorSource, ...]:
    """Return the detectors that are installed."""
    return tuple(DetectorSource(name) for name in ("yunet", "dlib") if name != "dlib" or has_dlib())


def scenes() -> Iterator[tuple[str, Pixels]]:
    """Yield photos whose face fills a share of the longer side, and a photo without a face."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 216, (16, 20, 3), np.uint8)
    empty = np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    portrait = np.asarray(open_photo("astronaut").crop((130, 20, 330, 220)), np.uint8)
    for title, share in SHARES:
        # The face fills half of this part of the portrait.
        side = round(2 * share * WIDTH)
        head = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
        photo = empty.copy()
        part = photo[: min(side, HEIGHT), 100 : 100 + side]
        part[:] = head[: part.shape[0], : part.shape[1]]
        yield title, photo
    yield "no face", empty


def costs() -> str:
    """Return the table of milliseconds to find a face, by size of the face and detector."""
    cv2.setNumThreads(1)
    detectors = [source.open() for source in sources()]
    rows = [
        (title, *(_milliseconds(partial(_look, photo, each)) for each in detectors))
        for title, photo in scenes()
    ]
    head = ("the face fills", *(f"{each.name}, ms" for each in detectors))
    return markdown("Detectors, on one core", head, rows)


def _look(photo: Pixels, detector: Detector) -> bool:
    try:
        find_face(photo, detector)
    except LikenessError:
        return False
    return True


def _milliseconds(look: Callable[[], bool]) -> str:
    return f"{timed(look, ROUNDS):.1f}" + ("" if look() else " (not found)")


def failures(photos: Path) -> str:
    """Return the table of photos in which each detector finds no face."""
    files, rows = photos_in(photos), []
    for source in sources():
        with Cutter(source, Framing(112, 0.25)) as cutter:
            missed = sum(isinstance(result, str) for result in cutter(files))
        rows.append((source.name, f"{missed:,} of {len(files):,}", f"{missed / len(files):.2%}"))
    return markdown("Failure to find a face", ("detector", "photos", "share"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="folder of photos with one face each")
    arguments = parser.parse_args()
    print(describe_machine())
    print(f"\n{costs()}", flush=True)
    if arguments.photos is not None:
        print(f"\n{failures(arguments.photos)}")


if __name__ == "__main__":
    main()
