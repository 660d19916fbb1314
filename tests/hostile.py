"""At least 200 broken, hostile or odd images, each with the problems it may be answered with.

Everything is built here from gradients and noise; no file holds a face, so that the best a
case can reach is `no_face`.
"""

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests import bombs, broken, odd
from tests.images import encode, noise, picture

STRANGE = frozenset({"not_an_image"})
BROKEN = frozenset({"undecodable_image"})
WIDE = frozenset({"too_many_pixels"})
# Over HTTP such a file may already be stopped while the body is read.
HEAVY = frozenset({"image_too_large", "body_too_large"})
FINE = frozenset({"no_face"})
BENT = BROKEN | FINE


@dataclass(frozen=True, slots=True)
class Case:
    """Hold one file and the codes of the problems that are right answers to it."""

    name: str
    data: bytes
    codes: frozenset[str]


def corpus() -> Iterator[Case]:
    """Yield every case, the same bytes in the same order every time."""
    yield from _truncated()
    yield from _flipped()
    for codes, files in (
        (STRANGE, _strangers()),
        (BROKEN, broken.files()),
        (WIDE, broken.wide_files()),
        (BROKEN, bombs.files()),
        (FINE, bombs.containers()),
        (HEAVY, _heavy()),
        (BENT, odd.bent_files()),
        (FINE, odd.fine_files()),
    ):
        for name, data in files.items():
            yield Case(name, data, codes)


def _samples() -> dict[str, bytes]:
    image = noise()
    return {
        "jpeg": encode(image, "JPEG"),
        "progressive jpeg": encode(image, "JPEG", progressive=True),
        "png": encode(image, "PNG"),
        "webp": encode(image, "WEBP"),
        "lossless webp": encode(image, "WEBP", lossless=True),
        "gif": encode(image.convert("P"), "GIF"),
        "bmp": encode(image, "BMP"),
        "tiff": encode(image, "TIFF"),
        "lzw tiff": encode(image, "TIFF", compression="tiff_lzw"),
        "avif": encode(image, "AVIF"),
        "heic": encode(image, "HEIF"),
    }


def _truncated() -> Iterator[Case]:
    for name, data in _samples().items():
        for percent in (1, 5, 25, 50, 75, 95):
            cut = data[: max(18, len(data) * percent // 100)]
            yield Case(f"{name} cut at {percent} %", cut, BROKEN)
        yield Case(f"{name} cut at 5 bytes", data[:5], STRANGE | BROKEN)


def _flipped() -> Iterator[Case]:
    for name, data in _samples().items():
        for seed in range(6):
            # Half of them in the header, where a bit means most.
            where = random.Random(f"{name} {seed}")
            reach = len(data) if seed % 2 else min(len(data), 200)
            bent = bytearray(data)
            for _ in range(1 + seed):
                bent[where.randrange(reach)] ^= 1 << where.randrange(8)
            yield Case(f"{name} flipped {seed}", bytes(bent), STRANGE | BROKEN | WIDE | FINE)


def _strangers() -> dict[str, bytes]:
    jpeg = encode(picture(), "JPEG")
    files = {
        "nothing": b"",
        "one byte": b"\xff",
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "text": b"This is not an image.\n",
        "long text": b"All work and no play. " * 5000,
        "text that begins like a bitmap": b"BMW builds cars, and this is no bitmap of one.",
        "text that begins like a tiff": b"II is the Roman two.",
        "utf-16": "No image at all".encode("utf-16"),
        "json": b'{"image": "portrait.jpg"}',
        "html": b"<!doctype html><html><body><img src='portrait.jpg'></body></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "xml bomb": b"<?xml version='1.0'?><!DOCTYPE b [<!ENTITY a 'aaaa'>]><b>&a;</b>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF",
        "postscript": b"%!PS-Adobe-3.0\n/Helvetica findfont\nshowpage\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        "dos eps": b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
        "windows program": b"MZ" + bytes(200),
        "shell script": b"#!/bin/sh\nrm -rf /tmp/x\n",
        "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94.",
        "numpy array": b"\x93NUMPY\x01\0v\0{'descr': '|u1', }" + bytes(100),
        "icon": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(100),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "photoshop": b"8BPS\0\x01" + bytes(100),
        "netpbm": b"P6\n2 2\n255\n" + bytes(12),
        "wave": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
        "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100),
        "jpeg behind a space": b" " + jpeg,
        "jpeg behind a byte order mark": b"\xef\xbb\xbf" + jpeg,
        "jpeg inside a pdf": b"%PDF-1.7\nstream\n" + jpeg + b"\nendstream",
        "jpeg as base64": base64.b64encode(jpeg),
        "jpeg as data uri": b"data:image/jpeg;base64," + base64.b64encode(jpeg),
        "jpeg backwards": jpeg[::-1],
        "half a signature of a png": b"\x89PNG",
        "png after a text transfer": encode(picture(), "PNG").replace(b"\r\n", b"\n"),
    }
    for seed in range(5):
        files[f"random bytes {seed}"] = b"\0" + random.Random(seed).randbytes(2000)
    return files


def _heavy() -> dict[str, bytes]:
    size = 10 * 2**20 + 1
    return {
        "jpeg with a heavy tail": encode(picture(), "JPEG").ljust(size, b"\0"),
        "png with a heavy tail": encode(picture(), "PNG").ljust(size, b"\0"),
        "heavy text": b"x" * size,
    }
