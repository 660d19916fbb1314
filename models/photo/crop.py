"""From the bytes of a photo to an aligned crop, decoding only as much of it as the crop needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

from models.errors import NoFace
from models.photo import FacePolicy
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
    """Hold a face of a photo, its crop, the size of the photo, and the seconds of each step."""

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
    policy: FacePolicy,
    framing: Framing,
    limits: Limits = DEFAULT_LIMITS,
    min_face_px: float = 0,
) -> CropResult:
    """Decode a photo, find the face that counts and cut it out.

    A large JPEG is decoded at a reduced size, which is enough to find the face and usually enough
    for the crop. If the crop needs more pixels, the photo is decoded again in full size. Raises
    ImageError and FaceError.
    """

    def find(image: Image, finer: bool) -> list[DetectedFace]:
        return [find_face(image.pixels, detector, policy, min_face_px, image.reduction, finer)]

    return _crop(data, find, detector, framing, limits)[0]


def crop_faces(
    data: bytes,
    detector: Detector,
    most: int,
    framing: Framing,
    limits: Limits = DEFAULT_LIMITS,
    min_face_px: float = 0,
) -> list[CropResult]:
    """Cut out all faces of a photo as `crop_face` does, or the `most` largest; largest first.

    The seconds of steps that all faces share are those of the first result; the others have 0.
    """

    def find(image: Image, finer: bool) -> list[DetectedFace]:
        faces = find_faces(image.pixels, detector, min_face_px, image.reduction, finer)
        return faces[:most]

    return _crop(data, find, detector, framing, limits)


def _crop(
    data: bytes,
    find: Callable[[Image, bool], list[DetectedFace]],
    detector: Detector,
    framing: Framing,
    limits: Limits,
) -> list[CropResult]:
    started = perf_counter()
    image = decode(data, limits, DETECTION_SIDE)
    decode_s = perf_counter() - started
    started = perf_counter()
    try:
        faces = find(image, False)
        again_s = 0.0
    except NoFace:
        # The finer search, at full size, is slow: only a photo without a face so far gets it.
        image, again_s = (image, 0.0) if image.reduction == 1 else _decode_whole(data, limits)
        faces = find(image, True)
    decode_s += again_s
    detect_s = perf_counter() - started - again_s
    whole: DetectedFace | None = None
    results = []
    for face in faces:
        started = perf_counter()
        crop = align(face, detector, framing)
        again_s = 0.0
        if image.reduction > 1 and crop.scale > 1:
            if whole is None:
                again, again_s = _decode_whole(data, limits)
                whole = face.enlarged(again.pixels)
            face = replace(whole, face=face.face.scaled(face.reduction))
            crop = align(face, detector, framing)
        align_s = perf_counter() - started - again_s
        results.append(
            CropResult(face, crop, image.width, image.height, decode_s + again_s, detect_s, align_s)
        )
        decode_s = detect_s = 0.0
    return results


def _decode_whole(data: bytes, limits: Limits) -> tuple[Image, float]:
    started = perf_counter()
    return decode(data, limits), perf_counter() - started
