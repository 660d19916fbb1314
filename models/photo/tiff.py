"""Find the photo among the images of a TIFF file, where cameras put a small copy first.

Sources: TIFF 6.0, its supplement 1 of 1995 for SubIFDs, and DNG 1.7 for sensor data.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from models.errors import UnsupportedImage

_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 259, 262
_BITS, _SAMPLES, _SAMPLE_FORMAT = 258, 277, 339
_STRIPS, _STRIP_BYTES, _CHILDREN, _JPEG, _JPEG_BYTES = 273, 279, 330, 513, 514
ORIENTATION = 0x0112
_READ = {
    *(_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _BITS, _SAMPLES, _SAMPLE_FORMAT),
    *(_STRIPS, _STRIP_BYTES, _CHILDREN, _JPEG, _JPEG_BYTES, ORIENTATION),
}

# Bits of _SUBFILE.
_REDUCED, _PAGE, _MASK = 1, 2, 4
# The photometric values of a colour filter array, and of one whose colours are filled in.
_SENSOR = {32803, 34892}
_OLD_JPEG, _FLOATS = 6, 3
# A finished picture may be cropped a little, down to this share of the sensor's pixels.
_LEAST_SHARE = 0.9

# The `struct` letter and size in bytes of each field type that holds whole numbers or offsets.
_NUMBERS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 13: ("I", 4), 16: ("Q", 8), 18: ("Q", 8)}
_MAX_DIRECTORIES = 64
_MAX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Directory:
    """Hold the directory of one image: its offset, and its tags that are whole numbers."""

    offset: int
    tags: Mapping[int, tuple[int, ...]]

    def first(self, tag: int, otherwise: int = 0) -> int:
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def pixels(self) -> int:
        return self.first(_WIDTH) * self.first(_HEIGHT)

    @property
    def bits(self) -> int:
        """Return the bits of a sample; with several colours, of the first."""
        return self.first(_BITS, 1)

    @property
    def is_negative(self) -> bool:
        return self.first(_PHOTOMETRIC, 1) == 0

    @property
    def is_sensor_data(self) -> bool:
        return self.first(_PHOTOMETRIC) in _SENSOR


@dataclass(frozen=True, slots=True)
class Photo:
    """Hold a file whose first image is the photo, and what its directory says about it.

    The file is a JPEG if `is_jpeg`, or else a TIFF. `turn` is an orientation, 1 to 8, that the
    file itself does not contain. `bits` is the number of bits of grey samples; if `is_negative`,
    0 is white.
    """

    data: bytes
    is_jpeg: bool = False
    turn: int = 1
    bits: int = 0
    is_negative: bool = False


def find_photo(data: bytes) -> Photo:
    """Return the largest image that is not a small copy, a mask or sensor data.

    For a document with pages, it is the first page. Raises UnsupportedImage if the file contains
    only sensor data in full size.
    """
    found = list(directories(data))
    images = [image for image in found if image.pixels and not image.first(_SUBFILE) & _MASK]
    if not images:
        return Photo(data)
    photo = _choose(images)
    turn = found[0].first(ORIENTATION, 1)
    if jpeg := _jpeg(data, photo):
        return Photo(jpeg, is_jpeg=True, turn=photo.first(ORIENTATION, turn))
    if photo.first(_SAMPLE_FORMAT) == _FLOATS and (photo.first(_SAMPLES, 1), photo.bits) != (1, 32):
        raise UnsupportedImage("The TIFF file has floating-point samples that cannot be read.")
    turn = 1 if ORIENTATION in photo.tags else turn
    first = _starting_with(data, photo)
    return Photo(first, turn=turn, bits=photo.bits, is_negative=photo.is_negative)


def _choose(images: list[Directory]) -> Directory:
    whole = [image for image in images if not image.first(_SUBFILE) & _REDUCED] or images
    if whole[0].first(_SUBFILE) & _PAGE:
        return whole[0]
    largest = max(whole, key=lambda image: image.pixels)
    if not largest.is_sensor_data:
        return largest
    pictures = [image for image in images if not image.is_sensor_data]
    best = max(pictures, key=lambda image: image.pixels, default=largest)
    if best is largest or best.pixels < _LEAST_SHARE * largest.pixels:
        raise UnsupportedImage("The file contains a camera's raw sensor data, no finished photo.")
    return best


def _jpeg(data: bytes, image: Directory) -> bytes:
    """Return the JPEG file that an image with old-style compression contains; else b""."""
    if image.first(_COMPRESSION) != _OLD_JPEG:
        return b""
    at = image.first(_JPEG) or image.first(_STRIPS)
    length = image.first(_JPEG_BYTES) or image.first(_STRIP_BYTES)
    jpeg = data[at : at + length]
    return jpeg if jpeg.startswith(b"\xff\xd8\xff") else b""


def _starting_with(data: bytes, image: Directory) -> bytes:
    order, is_big = _order(data), _is_big(data)
    start = struct.pack(f"{order}Q" if is_big else f"{order}I", image.offset)
    at = 8 if is_big else 4
    return data[:at] + start + data[at + len(start) :]


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the directories of a TIFF file in order, each followed by its children.

    Directories beyond the end of the file, or already yielded, are left out. A block of EXIF is a
    TIFF file too.
    """
    order, is_big = _order(data), _is_big(data)
    (first,) = _unpack(f"{order}Q" if is_big else f"{order}I", data, 8 if is_big else 4) or (0,)
    waiting, seen = [first], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        offset = waiting.pop()
        if offset in seen or not 0 < offset < len(data):
            continue
        seen.add(offset)
        directory, following = _directory(data, offset, order, is_big)
        yield directory
        waiting += [following, *reversed(directory.tags.get(_CHILDREN, ()))]


def _order(data: bytes) -> str:
    return ">" if data[:2] == b"MM" else "<"


def _is_big(data: bytes) -> bool:
    return data[2:4] in (b"+\0", b"\0+")


def _unpack(form: str, data: bytes, at: int) -> tuple[int, ...] | None:
    try:
        return struct.unpack_from(form, data, at)
    except struct.error:
        return None


def _directory(data: bytes, offset: int, order: str, is_big: bool) -> tuple[Directory, int]:
    """Read a directory as far as the data goes; return it and the offset of the next, or 0."""
    head, entry, word = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    size = struct.calcsize(f"{order}{entry}{word}")
    (entries,) = _unpack(order + head, data, offset) or (0,)
    at = offset + struct.calcsize(order + head)
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(at, at + size * min(entries, _MAX_ENTRIES), size):
        fields = _unpack(order + entry + word, data, start)
        if fields is None:
            break
        tag, kind, count, place = fields
        letter, width = _NUMBERS.get(kind, ("", 0))
        if tag not in _READ or tag in tags or not letter or not count:
            continue
        inline = count * width <= struct.calcsize(order + word)
        where = start + size - struct.calcsize(order + word) if inline else place
        values = _unpack(f"{order}{min(count, _MAX_DIRECTORIES)}{letter}", data, where)
        if values:
            tags[tag] = values
    (following,) = _unpack(order + word, data, at + size * entries) or (0,)
    return Directory(offset, tags), following
