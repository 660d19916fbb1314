"""Refuse files that hold less than their headers promise, where the decoders stay silent.

Pillow notices most truncations itself. It leaves black what a short PNG or TIFF does not
fill, libjpeg leaves it grey, and neither bounds how often a progressive JPEG is redrawn.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import islice

from PIL import Image, ImageChops

from models.errors import UndecodableImage

# Cameras and web tools write at most about 12; each one more costs a pass over all pixels.
MAX_SCANS = 64
# Encoders put some kilobytes into each chunk.
_MAX_CHUNKS = 65_536
# Pixels times scans; a large photo is allowed fewer of them.
MAX_DRAWN = 10**9
_MAX_SEGMENTS = 4096

# Inside a scan, \xff stands before 0 or before one of the restart markers.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# TEM, the one other marker without a length behind it.
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
    """Raise UndecodableImage unless a PNG's chunks unfold to all rows of `size`, in pixels."""
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
    """Count the bytes that a PNG's pixel data unfold to, up to about `enough`."""
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
        raise UndecodableImage("The file holds fewer strips than its size needs.")


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG from `at` on, and where what they head begins."""
    while marker := _MARKER.search(data, at):
        code, at = marker[0][1], marker.end()
        yield code, at
        if code != _BARE:
            at += int.from_bytes(data[at : at + 2])


def check_scans(data: bytes, start: int, pixels: int) -> None:
    """Raise UndecodableImage if a JPEG, drawn from `start` on, is redrawn absurdly often.

    What only looks like the end or like a scan, in comments or behind the end, does not count.
    """
    scans = 1
    for segments, (code, _) in enumerate(_segments(data, start), 1):
        if code == _END:
            return
        scans += code == _SCAN
        if scans > MAX_SCANS or scans * pixels > MAX_DRAWN or segments > _MAX_SEGMENTS:
            raise UndecodableImage(
                f"The JPEG file is drawn in {scans} scans and {segments} segments or more."
            )


def end_jpeg(data: bytes) -> tuple[bytes, bool]:
    """Return a JPEG with an end marker, and whether it came with one.

    Some cameras and messengers leave it out, some disks fill up with zeros, which go. Raises
    UndecodableImage if scans are missing; whether the last one is whole, `check_end` tells.
    """
    if data.endswith(b"\xff\xd9"):
        return data, True
    if any(code == _END for code, _ in islice(_segments(data, 2), _MAX_SEGMENTS)):
        return data, True
    if _unseen_coefficients(data):
        raise UndecodableImage("The JPEG file ends before its last scan.")
    kept = data.rstrip(b"\0") if data.endswith(b"\0\0") else data
    # Inside a scan a zero follows \xff; without one it is half an end.
    kept = kept + b"\0" if kept.endswith(b"\xff") and kept != data else kept.rstrip(b"\xff")
    return kept + b"\xff\xd9", False


def _unseen_coefficients(data: bytes) -> set[tuple[int, int]]:
    """Return what no scan of a JPEG gives to its last bit: components and coefficients."""
    unseen: set[tuple[int, int]] = set()
    is_progressive = False
    for code, at in islice(_segments(data, 2), _MAX_SEGMENTS):
        if code in _FRAMES:
            is_progressive = code in _PROGRESSIVE
            components = data[at + 8 : at + 8 + 3 * data[at + 7] : 3]
            unseen = {(component, order) for component in components for order in range(64)}
        elif code == _SCAN:
            count = data[at + 2]
            first, last, bits = data[at + 3 + 2 * count : at + 6 + 2 * count]
            orders = range(first, last + 1) if is_progressive else range(64)
            if not (is_progressive and bits & 15):
                seen = data[at + 3 : at + 3 + 2 * count : 2]
                unseen -= {(component, order) for component in seen for order in orders}
    return unseen


def check_end(
    data: bytes,
    start: int,
    image: Image.Image,
    reopen: Callable[[BytesIO], Image.Image],
    ended: bool = True,
) -> None:
    """Raise UndecodableImage if the first scan of a JPEG, from `start` on, stops early.

    libjpeg paints what is missing mid-grey. If the last pixel has that colour, the file is
    decoded once more with more bits appended to the scan: a complete one ignores them, one that
    stopped early takes them for pixels. If the file had not `ended`, this is done with its last
    scan, and whatever the colour.
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
    """Return bits to go on with, and the restart markers that a scan with such waits for."""
    restarts = _RESTART.findall(scan)
    following = restarts[-1][1] + 1 if restarts else 0
    return b"".join(
        b"\xaa" * 512 + bytes((0xFF, 0xD0 + number % 8))
        for number in range(following, following + 8)
    )


# Pillow finds its way through a file in Python, a few small reads for each part. A real file
# has some hundred parts; one made of nothing else has millions, and takes minutes.
_READ_COSTS_BYTES = 200
_FREE_BYTES = 8 * 2**20
_TIMES = 2


class MeteredFile(BytesIO):
    """Hold a file; `read` raises UndecodableImage after several times its size."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _FREE_BYTES + _TIMES * len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does."""
        data = super().read(size)
        self._left -= len(data) + _READ_COSTS_BYTES
        if self._left < 0:
            raise UndecodableImage("The file makes its reader go over it again and again.")
        return data
