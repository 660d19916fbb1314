"""From the bytes of a photo to an aligned crop, decoding no more of it than the crop shows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

from models.errors import NoFace
from models.photo import Policy
from models.photo.face import (
    DETECTION_SIDE,
    Crop,
    DetectedFace,
    Detector,
    Framing,
    align,
    find_face,
    find_faces,
)
from models.photo.image import DEFAULT_LIMITS, Image, Limits, decode


@dataclass(frozen=True, slots=True)
class CropResult:
    """Hold the face that counts in a photo of `width` x `height`, its crop, and seconds taken."""

    face: DetectedFace
    crop: Crop
    width: int
    height: int
    decode_s: float
    detect_s: float
    align_s: float


def crop_face(
    data: bytes,
    detector: Detector,
    policy: Policy,
    framing: Framing,
    limits: Limits = DEFAULT_LIMITS,
    min_face_px: float = 0,
) -> CropResult:
    """Decode, detect and align; raises ImageError and FaceError.

    A large JPEG is decoded small, which is enough to find the face in it, and most often for
    the crop too. Where the crop shows more than was decoded, the photo is decoded whole.
    """

    def look(image: Image, finer: bool) -> list[DetectedFace]:
        return [find_face(image.pixels, detector, policy, min_face_px, image.reduction, finer)]

    return _take(data, look, detector, framing, limits)[0]


def crop_faces(
    data: bytes,
    detector: Detector,
    most: int,
    framing: Framing,
    limits: Limits = DEFAULT_LIMITS,
    min_face_px: float = 0,
) -> list[CropResult]:
    """Do the same for every face, or the largest `most` of them; largest first.

    What is done once for all of them takes time in the first alone.
    """

    def look(image: Image, finer: bool) -> list[DetectedFace]:
        faces = find_faces(image.pixels, detector, min_face_px, image.reduction, finer)
        return faces[:most]

    return _take(data, look, detector, framing, limits)


def _take(
    data: bytes,
    look: Callable[[Image, bool], list[DetectedFace]],
    detector: Detector,
    framing: Framing,
    limits: Limits,
) -> list[CropResult]:
    started = perf_counter()
    image = decode(data, limits, DETECTION_SIDE)
    decode_s = perf_counter() - started
    started = perf_counter()
    try:
        faces = look(image, False)
        again_s = 0.0
    except NoFace:
        # Only a photo in which nothing was found pays for a second look, at all its pixels.
        image, again_s = (image, 0.0) if image.reduction == 1 else _decode_whole(data, limits)
        faces = look(image, True)
    decode_s += again_s
    detect_s = perf_counter() - started - again_s
    whole: DetectedFace | None = None
    portraits = []
    for found in faces:
        started = perf_counter()
        crop = align(found, detector, framing)
        again_s = 0.0
        if image.reduction > 1 and crop.scale > 1:
            if whole is None:
                again, again_s = _decode_whole(data, limits)
                whole = found.enlarged(again.pixels)
            found = replace(whole, face=found.face.scaled(found.reduction))
            crop = align(found, detector, framing)
        align_s = perf_counter() - started - again_s
        portraits.append(
            CropResult(
                found, crop, image.width, image.height, decode_s + again_s, detect_s, align_s
            )
        )
        decode_s = detect_s = 0.0
    return portraits


def _decode_whole(data: bytes, limits: Limits) -> tuple[Image, float]:
    started = perf_counter()
    return decode(data, limits), perf_counter() - started
