"""From the bytes of a photo to an aligned crop, decoding no more of it than the crop shows."""

from dataclasses import dataclass
from time import perf_counter

from models.face import DETECTION_SIDE, Crop, Detector, Found, Policy, align, find
from models.image import DEFAULT_LIMITS, Image, Limits, decode


@dataclass(frozen=True, slots=True)
class Portrait:
    """Hold the face that counts in a photo of `width` x `height`, its crop, and seconds taken."""

    found: Found
    crop: Crop
    width: int
    height: int
    decode_s: float
    detect_s: float
    align_s: float


def take_portrait(
    data: bytes,
    detector: Detector,
    policy: Policy,
    size: int,
    margin: float,
    limits: Limits = DEFAULT_LIMITS,
    min_face_px: float = 0,
) -> Portrait:
    """Decode, detect and align; raises ImageError and FaceError.

    A large JPEG is decoded small, which is enough to find the face in it, and most often for
    the crop too. Where the crop shows more than was decoded, the photo is decoded whole.
    """
    started = perf_counter()
    image = decode(data, limits, DETECTION_SIDE)
    decoded = perf_counter()
    found = find(image.pixels, detector, policy, min_face_px, image.reduction)
    detected = perf_counter()
    crop = align(found, detector.template, size, margin)
    again_s = 0.0
    if image.reduction > 1 and crop.scale > 1:
        whole, again_s = _decode_whole(data, limits)
        found = found.enlarged(whole.pixels)
        crop = align(found, detector.template, size, margin)
    aligned = perf_counter()
    return Portrait(
        found,
        crop,
        image.width,
        image.height,
        decoded - started + again_s,
        detected - decoded,
        aligned - detected - again_s,
    )


def _decode_whole(data: bytes, limits: Limits) -> tuple[Image, float]:
    started = perf_counter()
    return decode(data, limits), perf_counter() - started
