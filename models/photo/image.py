"""Decode the bytes of a photo into one upright RGB image, completely or not at all."""

import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, STRIPOFFSETS, TILEOFFSETS, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from models.errors import (
    ImageTooLarge,
    NotAnImage,
    PixelBudgetSpent,
    TooManyPixels,
    UndecodableImage,
)
from models.photo import depth, integrity, tiff

Pixels = NDArray[np.uint8]

# Let Pillow allocate a whole picture as one block: the C library returns a block of that size to
# the system when it is freed. Blocks of Pillow's default size stay with every thread for ever.
Pillow.core.set_block_size(2**28)  # type: ignore[attr-defined]

# A strip has at least one row, and no photo within the limits has that many rows.
_MAX_STRIPS = 65_536


class PixelBudget:
    """Count the pixels that may still be decoded for one request; threads can share it."""

    def __init__(self, pixels: float = math.inf) -> None:
        self._pixels = self._left = pixels
        self._lock = Lock()

    def spend(self, pixels: int) -> None:
        """Spend pixels before they are decoded; raises PixelBudgetSpent if too few are left."""
        with self._lock:
            if pixels > self._left:
                raise PixelBudgetSpent(
                    f"The photos of one request may have {self._pixels:.0f} pixels together; "
                    f"{self._left:.0f} are left, and this one has {pixels}."
                )
            self._left -= pixels


@dataclass(frozen=True, slots=True)
class Limits:
    """Limit the bytes of a file, its pixels by its header, and the pixels of a whole request."""

    max_bytes: int = 10 * 2**20
    max_pixels: int = 50_000_000
    budget: PixelBudget = field(default_factory=PixelBudget)


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Image:
    """Hold one upright image: `pixels` is `(h, w, 3)` uint8 RGB, contiguous and writable.

    `format` is JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF or HEIF. `width` and `height` are those of
    the upright photo in full size. One of `pixels` is `reduction` pixels of it wide: 1, 2, 4 or 8.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    reduction: int


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, shortest: int | None = None) -> Image:
    """Decode the photo in an image file completely and turn it upright.

    If the file contains several images, the main one is decoded: the largest image of a TIFF or a
    DNG, the primary image of a HEIC, the first image of a JPEG, an animation or a document with
    pages. It is never a thumbnail.

    A JPEG is decoded at a half, a quarter or an eighth of its size if its shorter side stays at
    least `shortest` pixels; this takes a fraction of the time. Transparent parts become white, as
    a viewer shows them, so that the comparison uses what a person sees. Samples of more than 8
    bits keep their 8 highest bits in use. Colour profiles are ignored.

    Raises ImageTooLarge, NotAnImage (unknown signature), UnsupportedImage (such as raw sensor
    data), TooManyPixels and PixelBudgetSpent (both by the header, before anything is decoded), and
    UndecodableImage.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The file has {len(data)} bytes; {limits.max_bytes} are allowed.")
    kind = _recognise(data)
    try:
        return _read(kind, data, limits, shortest)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as exc:
        raise TooManyPixels(f"The {kind.name} file has more pixels than allowed.") from exc
    except _DAMAGE as exc:
        raise UndecodableImage(f"The {kind.name} file cannot be decoded.") from exc


# The errors that Pillow and its libraries raise for hostile bytes, as seen in tests. Warning is
# among them because Python can be set to turn warnings into errors.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    MemoryError,
    NameError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
)


class _Jpeg(JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Do nothing: a corrupt EXIF block must neither raise nor warn."""


class _Tiff(TiffImageFile):
    def _setup(self) -> None:
        """Refuse millions of strips: Pillow prepares each of them before it decodes any."""
        for tag in (STRIPOFFSETS, TILEOFFSETS):
            parts = self.tag_v2.get(tag)
            if isinstance(parts, tuple) and len(parts) > _MAX_STRIPS:
                raise UndecodableImage(
                    f"The TIFF file has {len(parts)} strips; at most {_MAX_STRIPS} are allowed."
                )
        super()._setup()
        if self._planar_configuration == 2 and self.tag_v2.get(BITSPERSAMPLE, (8,))[0] == 16:
            # Pillow ignores here that the samples of a plane have two bytes.
            order = ";16L" if self.tag_v2.prefix == b"II" else ";16B"
            depth.with_raw_mode(self, lambda raw: raw + order if len(raw) == 1 else raw)


def _avif(stream: BytesIO) -> ImageFile:
    # The properties `irot` and `imir` of an AVIF give its orientation, never its EXIF. Pillow
    # parses the EXIF too, and would fail on a corrupt block.
    exif_item = rb"(?s)(infe[\x02\x03].{3}(?:.{4}|.{6}))Exif"
    return AvifImageFile(BytesIO(re.sub(exif_item, rb"\1skip", stream.read())))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Hold one file format; `turned` says whether its reader applies the orientation itself."""

    name: str
    signature: bytes
    open: Callable[[BytesIO], ImageFile]
    turned: bool = False


# Each reader is called directly: `Pillow.open` would also accept other formats, and warns about
# sizes that are checked here.
_KINDS = (
    _Kind("JPEG", rb"\xff\xd8\xff", _Jpeg),
    _Kind("PNG", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    _Kind("WEBP", rb"RIFF.{4}WEBP", WebPImageFile),
    _Kind("HEIF", rb".{4}ftyphe[iv][cxms]", HeifImageFile, turned=True),
    _Kind("AVIF", rb".{4}ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4}){0,8}?avi[fs])", _avif),
    _Kind("HEIF", rb".{4}ftypm[is]f1", HeifImageFile, turned=True),
    _Kind("GIF", rb"GIF8[79]a", GifImageFile),
    _Kind("TIFF", rb"II[*+]\x00|MM\x00[*+]", _Tiff, turned=True),
    # Some texts begin with "BM" too, so the size of the header that follows is checked as well.
    _Kind("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", BmpImageFile),
)
_JPEG = _KINDS[0]


def _recognise(data: bytes) -> _Kind:
    for kind in _KINDS:
        if re.match(kind.signature, data, re.DOTALL):
            return kind
    raise NotAnImage(
        "The file is not an image of a known format." if data else "The file is empty."
    )


def begins_as_photo(data: bytes) -> bool:
    """Return whether `data`, the first bytes of a file, begin a known image format."""
    return any(re.match(kind.signature, data, re.DOTALL) for kind in _KINDS)


def _read(kind: _Kind, data: bytes, limits: Limits, shortest: int | None) -> Image:
    name, ended, photo = kind.name, True, tiff.Photo(data)
    if name == "TIFF":
        photo = tiff.find_photo(data)
        kind = _JPEG if photo.is_jpeg else kind
    data = photo.data
    if kind is _JPEG:
        data, ended = integrity.end_jpeg(data)
    stream = integrity.MeteredFile(data)
    with kind.open(stream) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise TooManyPixels(
                f"The image has {width} x {height} pixels; {limits.max_pixels} are allowed."
            )
        header_bytes, raw = stream.tell(), depth.raw_mode(image)
        reduction = _reduction(image.size, shortest) if kind is _JPEG else 1
        _reduce(image, reduction)
        limits.budget.spend(image.width * image.height)
        match kind.name:
            case "PNG":
                integrity.check_png(data, image.size)
            case "TIFF":
                integrity.check_tiles([tile.extents for tile in image.tile], image.size)
            case "JPEG":
                integrity.check_scans(data, header_bytes, width * height)
        image.load()
        reopen = partial(_reopen, kind, reduction, limits)
        if kind is _JPEG:
            integrity.check_end(data, header_bytes, image, reopen, ended)
        shown = _to_8_bits(image, photo, raw, partial(reopen, BytesIO(data)))
        turn = 1 if kind.turned else orientation(image.info.get("exif", b""))
        upright = _turn(shown, photo.turn if turn == 1 else turn)
        lies = (upright.width > upright.height) != (width > height)
        width, height = (height, width) if lies else (width, height)
        return Image(_to_array(_to_rgb(upright)), name, width, height, reduction)


def _reduction(size: tuple[int, int], shortest: int | None) -> int:
    """Return the largest reduction that leaves the shorter side at least `shortest` pixels."""
    fitting = (by for by in (8, 4, 2) if shortest is not None and min(size) // by >= shortest)
    return next(fitting, 1)


def _reduce(image: ImageFile, by: int) -> None:
    if by > 1:
        image.draft(None, (image.width // by, image.height // by))


def _reopen(kind: _Kind, reduction: int, limits: Limits, stream: BytesIO) -> ImageFile:
    image = kind.open(stream)
    _reduce(image, reduction)
    limits.budget.spend(image.width * image.height)
    return image


_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def _turn(image: Pillow.Image, turn: int) -> Pillow.Image:
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, from a block of EXIF; 1 if it has none or is corrupt.

    Pillow's parser is not used: it warns and fails on corrupt blocks, which are common.
    """
    first = next(tiff.directories(exif.removeprefix(b"Exif\0\0")), None)
    turn = first.first(tiff.ORIENTATION, 1) if first else 1
    return turn if 1 <= turn <= 8 else 1


def _to_8_bits(
    image: ImageFile, photo: tiff.Photo, raw: str, reopen: Callable[[], ImageFile]
) -> Pillow.Image:
    if image.mode.startswith("I;16"):
        grey = depth.to_8_bits(np.asarray(image), photo.bits if photo.bits < 16 else 0)
    elif image.mode in ("I", "F"):
        grey = depth.stretch(np.asarray(image))
    else:
        return depth.deepen(image, raw, reopen)
    return Pillow.fromarray(~grey if photo.is_negative else grey)


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        image = Pillow.new("RGB", image.size, "white")
        image.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_array(image: Pillow.Image) -> Pixels:
    # In bands, because Pillow copies all pixels of an image to export them.
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 256):
        bottom = min(top + 256, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels
