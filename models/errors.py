"""What can go wrong between the bytes of a photo and a decision.

LikenessError
├── ImageError
│   ├── ImageTooLarge          more bytes than allowed
│   ├── NotAnImage             no known image signature
│   ├── UnsupportedImage       a kind of image that cannot be read, such as raw sensor data
│   ├── TooManyPixels          more pixels than allowed, by the header
│   └── UndecodableImage       truncated, corrupt, or its header is wrong
├── PixelBudgetSpent           the images of one request have more pixels than allowed
├── FaceError
│   ├── NoFace
│   ├── SeveralFaces           more than one face, where the policy is `single`
│   └── FaceTooSmall
├── ModelError
│   ├── InvalidBundle          the bundle cannot be used; raised at start
│   ├── DegenerateVector       NaN or zero length: never stored, never compared
│   ├── WrongRowCount          the encoder returned fewer or more rows than crops
│   ├── OutOfMemory            the batch does not fit the memory of the device
│   └── DeviceLost             the device is unusable until the process restarts
└── DecisionError
    ├── FingerprintMismatch    the vectors come from different bundles
    ├── UnknownOperatingPoint
    └── Uncalibrated           the bundle has no operating points

Every error has a stable `code`, a sentence for the caller and, where useful, advice for the
person who takes the photo. The service adds the HTTP status codes.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self


class LikenessError(Exception):
    """Carry a stable code, a sentence for the caller and optional advice."""

    code: ClassVar[str] = "internal_error"
    of_photo: ClassVar[bool] = False
    """True if one particular photo caused the error."""
    advice: str | None = None
    photos: tuple[str, ...] = ()
    """The fields of the request with the photos that caused it; `image.1` in a list."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def about(self, *photos: str) -> Self:
        """Set the fields of the photos that caused the error, if it is an error of a photo."""
        if self.of_photo:
            self.photos = photos
        return self

    def without_trace(self) -> Self:
        """Drop the traceback and the cause, whose frames keep photos and pixels in memory.

        Call it before an error is stored, and after it has been sent.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


@contextmanager
def naming(*photos: str) -> Iterator[None]:
    """Name these fields in any error of a photo that is raised inside the block."""
    try:
        yield
    except LikenessError as error:
        error.about(*photos)
        raise


def release(error: BaseException) -> None:
    """Clear the frames of a traceback, which keep tensors and pixels in memory; it can be logged.

    The causes of the error are cleared too.
    """
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


class ImageError(LikenessError):
    """The bytes cannot be decoded into an image."""

    of_photo = True


class ImageTooLarge(ImageError):
    code = "image_too_large"
    advice = "Send a smaller file; 1280 pixels on the long side are plenty."


class NotAnImage(ImageError):
    code = "not_an_image"
    advice = "Send a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC file."


class UnsupportedImage(ImageError):
    code = "unsupported_image"
    advice = "Export the photo as a JPEG file and send that."


class TooManyPixels(ImageError):
    code = "too_many_pixels"
    advice = "Scale the photo down; 1280 pixels on the long side are plenty."


class UndecodableImage(ImageError):
    code = "undecodable_image"
    advice = "The file is damaged or incomplete; save or upload it again."


class PixelBudgetSpent(LikenessError):
    of_photo = True
    code = "pixel_budget_spent"
    advice = "Send fewer photos in one request, or scale them down to 1280 pixels."


class FaceError(LikenessError):
    """The image contains no usable face."""

    of_photo = True


class NoFace(FaceError):
    code = "no_face"
    advice = "Face the camera, in even light, with nothing covering the face."


class SeveralFaces(FaceError):
    code = "several_faces"
    advice = "Take a photo of one person only, or ask for the policy `largest`."


class FaceTooSmall(FaceError):
    code = "face_too_small"
    advice = "Move closer to the camera, or send the photo in its original size."


class ModelError(LikenessError):
    """The encoder, the head or their files do not work."""


class InvalidBundle(ModelError):
    code = "invalid_bundle"


class DegenerateVector(ModelError):
    of_photo = True
    code = "degenerate_vector"


class WrongRowCount(ModelError):
    code = "wrong_row_count"


class OutOfMemory(ModelError):
    code = "out_of_memory"


class DeviceLost(ModelError):
    code = "device_lost"


class DecisionError(LikenessError):
    """The comparison cannot be decided."""


class FingerprintMismatch(DecisionError):
    code = "fingerprint_mismatch"


class UnknownOperatingPoint(DecisionError):
    code = "unknown_operating_point"


class Uncalibrated(DecisionError):
    code = "uncalibrated"
