"""What can go wrong between bytes and a decision.

LikenessError
├── ImageError
│   ├── ImageTooLarge          more bytes than allowed
│   ├── NotAnImage             no known image signature
│   ├── UnsupportedImage       an image of a kind that is not read, such as raw sensor data
│   ├── TooManyPixels          the header promises more pixels than allowed
│   └── UndecodableImage       truncated, corrupt or lying about its content
├── PixelBudgetSpent           images that belong together have more pixels than allowed
├── FaceError
│   ├── NoFace
│   ├── SeveralFaces           policy `single` and more than one face
│   └── FaceTooSmall
├── ModelError
│   ├── InvalidBundle          the bundle cannot be served; raised at start
│   ├── DegenerateVector       NaN or zero length: never stored, never compared
│   ├── WrongRowCount          the encoder answered another number of rows
│   ├── OutOfMemory            the device could not hold the batch
│   └── DeviceLost             the device is unusable until the process restarts
└── DecisionError
    ├── FingerprintMismatch    vectors of different bundles are never compared
    ├── UnknownOperatingPoint
    └── Uncalibrated           the bundle has no operating points

Every error has a stable `code`, a sentence for the caller and, where there is any, advice
for the person taking the photo. HTTP status codes are the service's business.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self


class LikenessError(Exception):
    """Carry a stable code, a sentence and optional advice."""

    code: ClassVar[str] = "internal_error"
    of_photo: ClassVar[bool] = False
    """A photo is at fault, or what was to be done with that very one."""
    advice: str | None = None
    photos: tuple[str, ...] = ()
    """The fields of the request that the photos at fault came in; `image.1` in a list."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def about(self, *photos: str) -> Self:
        """Name the fields of the photos at fault, if it is an error of a photo."""
        if self.of_photo:
            self.photos = photos
        return self

    def without_trace(self) -> Self:
        """Forget where it was raised and what caused it: the frames hold photos and pixels.

        For whoever keeps an error, and whoever has answered it.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


@contextmanager
def naming(*photos: str) -> Iterator[None]:
    """Name the fields of the photos that are worked on in whatever error of a photo is raised."""
    try:
        yield
    except LikenessError as error:
        error.about(*photos)
        raise


def release(error: BaseException) -> None:
    """Empty the frames of a traceback that is still to be logged: they pin tensors and pixels."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


class ImageError(LikenessError):
    """The bytes do not become a usable image."""

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
    """The image holds no face that can be used."""

    of_photo = True


class NoFace(FaceError):
    code = "no_face"
    advice = "Face the camera, in even light, with nothing covering the face."


class SeveralFaces(FaceError):
    code = "several_faces"
    advice = "Take the photo with one person in it, or ask for the policy `largest`."


class FaceTooSmall(FaceError):
    code = "face_too_small"
    advice = "Move closer to the camera, or send the photo in its original size."


class ModelError(LikenessError):
    """The encoder, the head or their files fail."""


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
    """The question cannot be decided as asked."""


class FingerprintMismatch(DecisionError):
    code = "fingerprint_mismatch"


class UnknownOperatingPoint(DecisionError):
    code = "unknown_operating_point"


class Uncalibrated(DecisionError):
    code = "uncalibrated"
