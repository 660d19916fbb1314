"""Refuse files that hold less than their headers promise, where the decoders stay silent.

Pillow notices most truncations itself. It leaves black what a short PNG or TIFF does not
fill, libjpeg leaves it grey, and neither bounds how often a progressive JPEG is redrawn.
"""

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO

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
# TEM, the one other marker without a length behind it.
_SCAN, _END, _BARE = 0xDA, 0xD9, 0x01

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


def check_scans(data: bytes, start: int, pixels: int) -> None:
    """Raise UndecodableImage if a JPEG, drawn from `start` on, is redrawn absurdly often.

    What only looks like the end or like a scan, in comments or behind the end, does not count.
    """
    scans, segments, at = 1, 0, start
    while marker := _MARKER.search(data, at):
        code, at = marker[0][1], marker.end()
        if code == _END:
            return
        scans += code == _SCAN
        segments += 1
        if scans > MAX_SCANS or scans * pixels > MAX_DRAWN or segments > _MAX_SEGMENTS:
            raise UndecodableImage(
                f"The JPEG file is drawn in {scans} scans and {segments} segments or more."
            )
        if code != _BARE:
            at += int.from_bytes(data[at : at + 2])


def check_end(
    data: bytes, start: int, image: Image.Image, reopen: Callable[[BytesIO], Image.Image]
) -> None:
    """Raise UndecodableImage if the first scan of a JPEG, from `start` on, stops early.

    libjpeg paints what is missing mid-grey. If the last pixel has that colour, the file is
    decoded once more with zeros appended to the scan: a complete one ignores them, one that
    stopped early takes them for pixels.
    """
    last = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if not set(last.tobytes()) <= {127, 128}:
        return
    marker = _MARKER.search(data, start)
    end = marker.start() if marker else len(data)
    with reopen(BytesIO(data[:end] + bytes(4096) + data[end:])) as padded:
        if ImageChops.difference(image, padded).getbbox():
            raise UndecodableImage("The JPEG file ends before its last row.")
