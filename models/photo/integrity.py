"""Refuse truncated files and files that take too long to read, where the decoders accept them.

Pillow notices most truncated files itself. But it leaves the missing part of a PNG or TIFF black,
libjpeg leaves it grey, and neither limits the number of scans of a progressive JPEG. The `check_`
functions find these cases; `MeteredFile` stops files that make Pillow read for minutes.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import islice

from PIL import Image, ImageChops

from models.errors import UndecodableImage

# Cameras and web tools write at most about 12 scans; each scan is a pass over all pixels.
MAX_SCANS = 64
# Encoders put some kilobytes into each chunk.
_MAX_CHUNKS = 65_536
# The limit of pixels times scans: a large photo may have fewer scans.
MAX_DRAWN = 10**9
_MAX_SEGMENTS = 4096

# Inside a scan, \xff comes before 0 or before a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# _BARE is TEM, the only other marker that no length follows.
_SCAN, _END, _BARE = 0xDA, 0xD9, 0x01
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column, first row, step to the right, step down; PNG specification, 8.2.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def check_png(data: bytes, size: tuple[int, int]) -> None:
    """Raise UndecodableImage unless the chunks of a PNG inflate to all rows of `size` pixels."""
    kind, width, height, depth, colour, _, _, interlace = struct.unpack_from(">4s2I5B", data, 12)
    if kind != b"IHDR" or (width, height) != size:
        raise UndecodableImage("The PNG file contradicts itself about its size.")
    bits = depth * _CHANNELS[colour]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    needed = sum(
        -(-(height - top) // down) * (1 + -(-(-(-(width - left) // right) * bits) // 8))
        for left, top, right, down in passes
        if width > left and height > top
    )
    if _inflated(data, needed) < needed:
        raise UndecodableImage("The PNG file ends before its last row.")


def _inflated(data: bytes, enough: int) -> int:
    """Count the bytes that the pixel data of a PNG inflate to; stop at about `enough`."""
    inflater = zlib.decompressobj()
    total, at, chunks = 0, 8, 0
    while at + 8 <= len(data) and total < enough:
        length, kind = struct.unpack_from(">I4s", data, at)
        rest = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while rest and total < enough and not inflater.eof:
            total += len(inflater.decompress(rest, 2**20))
            rest = inflater.unconsumed_tail
        at, chunks = at + 12 + length, chunks + 1
        if chunks > _MAX_CHUNKS:
            raise UndecodableImage("The PNG file has too many chunks.")
    return total


def check_tiles(tiles: Sequence[tuple[int, int, int, int] | None], size: tuple[int, int]) -> None:
    """Raise UndecodableImage unless tiles (left, top, right, bottom) cover the whole image."""
    parts = {tile for tile in tiles if tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in parts)
    if covered < size[0] * size[1]:
        raise UndecodableImage("The file contains fewer strips than its size needs.")


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield the code of each JPEG marker from `at` on, and the offset behind it."""
    while marker := _MARKER.search(data, at):
        code, at = marker[0][1], marker.end()
        yield code, at
        if code != _BARE:
            at += int.from_bytes(data[at : at + 2])


def check_scans(data: bytes, start: int, pixels: int) -> None:
    """Raise UndecodableImage if a JPEG has far too many scans from the offset `start` on.

    Bytes that only look like a scan or the end do not count, such as in comments.
    """
    most = min(MAX_SCANS, MAX_DRAWN // max(pixels, 1))
    scans = 1
    for segments, (code, _) in enumerate(_segments(data, start), 1):
        if code == _END:
            return
        scans += code == _SCAN
        if scans > most or segments > _MAX_SEGMENTS:
            raise UndecodableImage(
                f"The JPEG file has {scans} scans and {segments} segments or more; at its size, at "
                f"most {most} scans and {_MAX_SEGMENTS} segments are allowed."
            )


def end_jpeg(data: bytes) -> tuple[bytes, bool]:
    """Add the end marker to a JPEG that lacks it; return the JPEG, and whether it had a marker.

    Some cameras and messengers leave the marker out. Zeros at the end, which some disks add, are
    removed. Raises UndecodableImage if scans are missing; `check_end` checks the last scan.
    """
    if data.endswith(b"\xff\xd9"):
        return data, True
    if any(code == _END for code, _ in islice(_segments(data, 2), _MAX_SEGMENTS)):
        return data, True
    if _missing_coefficients(data):
        raise UndecodableImage("The JPEG file ends before its last scan.")
    kept = data.rstrip(b"\0") if data.endswith(b"\0\0") else data
    # Inside a scan a zero follows \xff. Without it, the \xff is half of an end marker.
    kept = kept + b"\0" if kept.endswith(b"\xff") and kept != data else kept.rstrip(b"\xff")
    return kept + b"\xff\xd9", False


def _missing_coefficients(data: bytes) -> set[tuple[int, int]]:
    """Return the (component, coefficient) pairs that no scan of a JPEG gives to the last bit."""
    missing: set[tuple[int, int]] = set()
    is_progressive = False
    for code, at in islice(_segments(data, 2), _MAX_SEGMENTS):
        if code in _FRAMES:
            is_progressive = code in _PROGRESSIVE
            components = data[at + 8 : at + 8 + 3 * data[at + 7] : 3]
            missing = {(component, order) for component in components for order in range(64)}
        elif code == _SCAN:
            count = data[at + 2]
            first, last, bits = data[at + 3 + 2 * count : at + 6 + 2 * count]
            orders = range(first, last + 1) if is_progressive else range(64)
            if not (is_progressive and bits & 15):
                components = data[at + 3 : at + 3 + 2 * count : 2]
                missing -= {(component, order) for component in components for order in orders}
    return missing


def check_end(
    data: bytes,
    start: int,
    image: Image.Image,
    reopen: Callable[[BytesIO], Image.Image],
    ended: bool = True,
) -> None:
    """Raise UndecodableImage if the first scan of a JPEG, from the offset `start` on, is cut off.

    libjpeg paints the missing part mid-grey. If the last pixel has that colour, the file is
    decoded again with more bits behind the scan: they change the image only if the scan was cut
    off. If the file had no end marker (`ended`), its last scan is checked, whatever the colour.
    """
    last = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if ended and not set(last.tobytes()) <= {127, 128}:
        return
    marker = _MARKER.search(data, start if ended else len(data) - 2)
    end = marker.start() if marker else len(data)
    more = _more_bits(data[data.rfind(b"\xff\xda", 0, end) : end])
    with reopen(BytesIO(data[:end] + more + data[end:])) as padded:
        if ImageChops.difference(image, padded).getbbox():
            raise UndecodableImage("The JPEG file ends before its last row.")


def _more_bits(scan: bytes) -> bytes:
    """Return bits to append to a scan, with the restart markers that it needs next, if any."""
    restarts = _RESTART.findall(scan)
    following = restarts[-1][1] + 1 if restarts else 0
    return b"".join(
        b"\xaa" * 512 + bytes((0xFF, 0xD0 + number % 8))
        for number in range(following, following + 8)
    )


# Pillow parses the structure of a file in Python, with a few small reads for each part. A real
# file has some hundred parts; a hostile one has millions, and takes minutes.
_READ_COSTS_BYTES = 200
_FREE_BYTES = 8 * 2**20
_TIMES = 2


class MeteredFile(BytesIO):
    """Read bytes like a file, and raise UndecodableImage after reading several times their size.

    Every read also costs a fixed number of bytes, so that many small reads are stopped too.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _FREE_BYTES + _TIMES * len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, or all that are left."""
        data = super().read(size)
        self._left -= len(data) + _READ_COSTS_BYTES
        if self._left < 0:
            raise UndecodableImage("The file makes its decoder read it again and again.")
        return data
