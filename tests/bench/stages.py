"""What one photo costs before the encoder, stage by stage."""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import cv2
from PIL import ImageOps

from models.bundle import choose, load_bundle
from models.detectors import DlibDetector
from models.face import DETECTION_SIDE, align, find
from models.image import decode
from models.quality import measure
from tests.bench.machine import markdown
from tests.photos import jpeg, open_photo

ROUNDS = 9
SIZES = ((640, 480), (1632, 1224), (4000, 3000))


def timed(work: Callable[[], object]) -> float:
    """Return the median milliseconds of a call."""
    seconds = []
    for _ in range(ROUNDS):
        started = perf_counter()
        work()
        seconds.append(perf_counter() - started)
    return 1000 * median(seconds)


def photo_of(width: int, height: int) -> bytes:
    """Return a JPEG of a face that fills a third of the height, its proportions kept."""
    return jpeg(ImageOps.pad(open_photo("grace"), (width, height), color="grey"))


def table() -> str:
    """Return milliseconds per stage on one core, for three sizes of photo."""
    cv2.setNumThreads(1)
    detector = DlibDetector()
    spec = load_bundle(choose(None)[0]).manifest.pixels
    rows = []
    for width, height in SIZES:
        data = photo_of(width, height)
        image = decode(data, shortest=DETECTION_SIDE)
        found = find(image.pixels, detector, reduction=image.reduction)
        crop = align(found, detector.template, spec.size, spec.margin)
        stages = (
            timed(partial(decode, data, shortest=DETECTION_SIDE)),
            timed(partial(find, image.pixels, detector)),
            timed(partial(align, found, detector.template, spec.size, spec.margin)),
            timed(partial(measure, found, crop)),
        )
        megapixels = f"{width * height / 1e6:.1f} MP"
        rows.append((megapixels, *(f"{ms:.1f}" for ms in stages), f"{sum(stages):.1f}"))
    head = ("photo", "decode", "detect", "align", "quality", "sum")
    return markdown("Before the encoder, ms on one core", head, rows)
