"""Small pictures, encoded in every format, and the parts to build or bend them by hand."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
from PIL import Image

Picture = Image.Image


def picture(width: int = 96, height: int = 64) -> Picture:
    """Draw a smooth picture that looks different under every turn and mirroring."""
    down, right = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = [255 * right, 255 * down, 127 * (1 + right * (1 - down))]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def noise(width: int = 96, height: int = 64, seed: int = 0) -> Picture:
    """Draw a picture that no encoder can shorten."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def encode(image: Picture, format: str, **options: object) -> bytes:
    """Encode an image as Pillow does, or as HEIC."""
    stream = BytesIO()
    if format == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        # Pillow leaves in an image how it was encoded, and encodes it so the next time, too.
        image.copy().save(stream, format, **options)
    return stream.getvalue()


def exif(orientation: int, field: int = 3) -> bytes:
    """Build an EXIF block that holds an orientation alone, as field type SHORT by default."""
    value = struct.pack(">HH" if field == 3 else ">I", *((orientation, 0)[: 5 - field]))
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHI", 8, 1, 0x0112, field, 1) + value + bytes(4)


def chunk(kind: bytes, body: bytes) -> bytes:
    """Build one chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    rows: bytes,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    before: bytes = b"",
    level: int = 9,
) -> bytes:
    """Build a PNG that says what it is told, with `rows` as its deflated content."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows, level))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def patch(data: bytes, mark: bytes, offset: int, form: str, *values: int) -> bytes:
    """Overwrite what lies `offset` bytes after the first `mark`."""
    patched = bytearray(data)
    struct.pack_into(form, patched, data.index(mark) + offset, *values)
    return bytes(patched)


def retag(tiff: bytes, tag: int, *, count: int = 1, value: int) -> bytes:
    """Overwrite one entry of a little-endian TIFF's first directory, as LONG."""
    patched = bytearray(tiff)
    (directory,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", tiff, entry) == (tag,):
            struct.pack_into("<HHII", patched, entry, tag, 4, count, value)
            return bytes(patched)
    raise ValueError(f"no tag {tag}")
