"""Files that are strange but whole, or damaged only where it does not matter."""

import struct
import zlib
from io import BytesIO
from typing import Literal

import numpy as np
import pillow_heif
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.images import Picture, chunk, encode, exif, noise, picture, png, retag

ByteOrder = Literal["<", ">"]


def bent_files() -> dict[str, bytes]:
    """Build files that a strict reader refuses and a kind one accepts."""
    good = encode(picture(), "PNG")
    bomb = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    tiff = encode(noise(), "TIFF")
    packed = encode(noise(), "TIFF", compression="tiff_adobe_deflate")
    progressive = encode(noise(), "JPEG", progressive=True)
    return {
        "png with a text bomb": good[:33] + chunk(b"zTXt", bomb) + good[33:],
        "png with a late text bomb": good[:-12] + chunk(b"zTXt", bomb) + good[-12:],
        "png with 20 text bombs": good[:33] + chunk(b"zTXt", bomb) * 20 + good[33:],
        "png with a profile bomb": good[:33] + chunk(b"iCCP", bomb) + good[33:],
        "png with a broken profile": good[:33] + chunk(b"iCCP", b"x\0\0broken") + good[33:],
        "png with an unknown vital chunk": good[:33] + chunk(b"ABCD", b"x") + good[33:],
        "png with 5000 chunks": good[:33] + chunk(b"tEXt", b"k\0v") * 5000 + good[33:],
        "png with an endless chunk": good[:33] + b"\x7f\xff\xff\xff" + good[37:],
        "png without end": good[:-12],
        "apng of no frames": good[:33] + chunk(b"acTL", bytes(8)) + good[33:],
        "apng of a billion frames": good[:33] + chunk(b"acTL", b"\x3f" * 8) + good[33:],
        "jpeg that loses its detail": progressive[: len(progressive) // 2] + b"\xff\xd9",
        "tiff with too many row counts": retag(tiff, 278, count=3, value=8),
        "tiff with a strip of 0 bytes": retag(packed, 279, value=0),
        "tiff that refers to itself": _circular(tiff),
        "gif with a transparent colour of 255": encode(
            noise().convert("P"), "GIF", transparency=255
        ),
        "heic with corrupt exif": encode(picture(), "HEIF", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    }


def _circular(tiff: bytes) -> bytes:
    (directory,) = struct.unpack_from("<I", tiff, 4)
    end = _end_of_first(tiff)
    return tiff[:end] + struct.pack("<I", directory) + tiff[end + 4 :]


def fine_files() -> dict[str, bytes]:
    """Build files that decode; they show gradients and noise."""
    return _turned() | _with_exif() | _modes() | _shapes() | _tails() | _frames()


def _turned() -> dict[str, bytes]:
    image = picture(40, 60)
    return {
        f"{form.lower()} of orientation {turn}": encode(image, form, exif=exif(turn))
        for form in ("JPEG", "PNG", "WEBP")
        for turn in range(1, 9)
    }


def _with_exif() -> dict[str, bytes]:
    blocks = {
        "an orientation of 0": exif(0),
        "an orientation of 9": exif(9),
        "an orientation of 65535": exif(65535),
        "nothing in it": b"Exif\0\0",
        "garbage in it": b"Exif\0\0" + b"garbage" * 20,
        "a directory far away": b"Exif\0\0MM\0*\x7f\xff\xff\xff",
        "a directory that is too long": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        "half an entry": exif(6)[:22],
        "a maker note past its end": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x7c\x92\x07\0"
        + b"\xff\xff\xff\x7f" * 2
        + bytes(4),
        "a directory that is its own child": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0"
        + b"\x01\0\0\0"
        + b"\x08\0\0\0" * 2,
    }
    return {
        f"{form.lower()} with exif that has {what}": encode(picture(), form, exif=block)
        for form in ("JPEG", "WEBP")
        for what, block in blocks.items()
    }


def _modes() -> dict[str, bytes]:
    image, grey = picture(), picture().convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    faded = image.copy()
    faded.putalpha(grey)
    clear = Image.new("RGBA", (96, 64), (255, 0, 0, 0))
    return {
        "grey jpeg": encode(grey, "JPEG"),
        "cmyk jpeg": encode(image.convert("CMYK"), "JPEG"),
        "progressive jpeg": encode(image, "JPEG", progressive=True),
        "jpeg with restarts": encode(image, "JPEG", restart_marker_rows=1),
        "jpeg with a broken profile": encode(image, "JPEG", icc_profile=b"broken" * 30),
        "jpeg with comments": encode(image, "JPEG", comment=b"<script>alert(1)</script>"),
        "16-bit png": encode(Image.fromarray(deep), "PNG"),
        "1-bit png": encode(grey.convert("1"), "PNG"),
        "palette png": encode(image.convert("P"), "PNG"),
        "palette png with alpha": encode(image.convert("P"), "PNG", transparency=bytes(range(256))),
        "png with alpha": encode(faded, "PNG"),
        "invisible png": encode(clear, "PNG"),
        "grey png with alpha": encode(faded.convert("LA"), "PNG"),
        "interlaced png": png(8, 8, bytes(8 * 25 + 8 * 7), interlace=1),
        "webp with alpha": encode(faded, "WEBP"),
        "invisible webp": encode(clear, "WEBP"),
        "avif with alpha": encode(faded, "AVIF"),
        "heic with alpha": encode(faded, "HEIF"),
        "16-bit tiff": encode(Image.fromarray(deep), "TIFF"),
        "float tiff": encode(Image.fromarray(deep.astype(np.float32)), "TIFF"),
        "32-bit tiff": encode(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "cmyk tiff": encode(image.convert("CMYK"), "TIFF"),
        # Without the profile, which holds the hour it was made.
        "lab tiff": encode(image.convert("LAB"), "TIFF", icc_profile=None),
        "jpeg tiff": encode(image, "TIFF", compression="jpeg"),
        "fax tiff": encode(grey.convert("1"), "TIFF", compression="group4"),
        "1-bit bmp": encode(grey.convert("1"), "BMP"),
        "grey gif": encode(grey, "GIF"),
        "transparent gif": encode(image.convert("P"), "GIF", transparency=3),
    }


def _shapes() -> dict[str, bytes]:
    files = {}
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF"):
        for width, height in ((1, 1), (3, 200), (200, 2)):
            plain = Image.new("RGB", (width, height), (90, 60, 40))
            files[f"{form.lower()} of {width} x {height}"] = encode(plain, form)
    for colour in ("black", "white", "grey", "#808080"):
        files[f"{colour} jpeg"] = encode(Image.new("RGB", (64, 64), colour), "JPEG")
    files["jpeg of 1 x 60000"] = encode(Image.new("RGB", (1, 60_000), "brown"), "JPEG")
    files["png of 60000 x 1"] = encode(Image.new("RGB", (60_000, 1), "brown"), "PNG")
    return files


def _tails() -> dict[str, bytes]:
    jpeg, image = encode(picture(), "JPEG"), encode(picture(), "PNG")
    return {
        "jpeg without end": jpeg[:-2],
        "jpeg without end, and zeros": jpeg[:-2] + bytes(8),
        "jpeg and garbage": jpeg + b"garbage" * 1000,
        "jpeg and zip": jpeg + b"PK\x03\x04" + bytes(100),
        "jpeg and html": jpeg + b"<script>alert(1)</script>",
        "jpeg and video": jpeg + b"\0\0\0\x18ftypmp42" + noise().tobytes(),
        "jpeg twice": jpeg + jpeg,
        "png and garbage": image + b"garbage" * 1000,
        "png and zip": image + b"PK\x03\x04" + bytes(100),
        "gif and garbage": encode(picture().convert("P"), "GIF") + b"garbage" * 1000,
        "bmp and garbage": encode(picture(), "BMP") + b"garbage" * 1000,
        "webp and garbage": encode(picture(), "WEBP") + b"garbage" * 1000,
    }


def _frames() -> dict[str, bytes]:
    frames: list[Picture] = [noise(seed=seed) for seed in range(4)]
    return {
        f"{form.lower()} of 4 frames": encode(
            frames[0], form, save_all=True, append_images=frames[1:]
        )
        for form in ("GIF", "WEBP", "PNG", "TIFF", "MPO")
    }


def odd_photos(photo: Picture) -> dict[str, bytes]:
    """Build files that show the photo in its full size, as cameras, scanners and tools write it."""
    return _beside_others(photo) | _of_few_bits(photo) | _without_end(photo)


def _beside_others(photo: Picture) -> dict[str, bytes]:
    small = photo.resize((photo.width // 5, photo.height // 5))
    heic = pillow_heif.HeifFile()
    heic.add_from_pillow(small)
    heic.add_from_pillow(photo)
    stream = BytesIO()
    heic.save(stream, primary_index=1)
    return {
        "tiff of a thumbnail and the photo": encode(
            small, "TIFF", save_all=True, append_images=[photo]
        ),
        "tiff of a thumbnail with the photo below": raw_file(photo, small),
        "big tiff of the same": raw_file(photo, small, bigtiff=True),
        "big-endian tiff of the same": raw_file(photo, small, byteorder=">"),
        "raw file with a finished photo": raw_file(photo, small, sensor=True),
        "raw file with a jpeg": camera_file(photo, small),
        "tiff of the photo and a thumbnail": encode(
            photo, "TIFF", save_all=True, append_images=[small]
        ),
        "phone picture with a smaller one": encode(
            photo, "MPO", save_all=True, append_images=[small]
        ),
        "heic whose second picture is its primary one": stream.getvalue(),
        "jpeg with a thumbnail": encode(photo, "JPEG", exif=_thumbnail(small)),
        "gif with more frames": encode(
            photo.quantize(200), "GIF", save_all=True, append_images=[small.quantize(9)]
        ),
        "moving webp": encode(
            photo, "WEBP", save_all=True, append_images=[Image.new("RGB", photo.size)]
        ),
    }


def _thumbnail(small: Picture) -> bytes:
    """Build a block of EXIF whose second directory holds a small JPEG."""
    jpeg = encode(small, "JPEG")
    directory = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 44, 514, 4, 1, len(jpeg), 0)
    return b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 14) + directory + jpeg


def _of_few_bits(photo: Picture) -> dict[str, bytes]:
    colour, grey = np.asarray(photo), np.asarray(photo.convert("L"))
    files = {
        "16-bit tiff whose 0 is white": _tiff(65535 - _deep(grey, 16), photometric="miniswhite"),
        "12-bit tiff in planes": _tiff(
            np.ascontiguousarray(np.moveaxis(_deep(colour, 12), -1, 0)),
            photometric="rgb",
            planarconfig="separate",
        ),
        "float tiff with a hot pixel": _tiff(_hot(grey)),
    }
    for bits in (8, 10, 12, 14, 16):
        one, three = _deep(grey, bits), _deep(colour, bits)
        opaque = np.full((*grey.shape, 1), 65535, np.uint16)
        files |= {
            f"png of {bits} bits in 16": _deep_png(one[..., None], 0),
            f"colour png of {bits} bits in 16": _deep_png(three, 2),
            f"png of {bits} bits in 16 with alpha": _deep_png(
                np.concatenate((one[..., None], opaque), -1), 4
            ),
            f"tiff of {bits} bits in 16": _tiff(one),
            f"colour tiff of {bits} bits in 16": _tiff(three, photometric="rgb"),
            f"packed big-endian tiff of {bits} bits in 16": _tiff(
                three, photometric="rgb", compression="zlib", byteorder=">"
            ),
        }
    return files


def _deep(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint16]:
    return np.asarray(values.astype(np.uint32) * (2**bits - 1) // 255, np.uint16)


def _hot(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = (grey / 255).astype(np.float32)
    values[0, 0] = 1000
    return values


def _deep_png(samples: NDArray[np.uint16], colour: int) -> bytes:
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(width, height, rows, depth=16, colour=colour, level=1)


def _tiff(
    samples: NDArray[np.generic],
    photometric: str = "minisblack",
    planarconfig: str | None = None,
    compression: str | None = None,
    byteorder: ByteOrder = "<",
) -> bytes:
    stream = BytesIO()
    with tifffile.TiffWriter(stream, byteorder=byteorder) as file:
        file.write(
            samples, photometric=photometric, planarconfig=planarconfig, compression=compression
        )
    return stream.getvalue()


def raw_file(
    photo: Picture,
    small: Picture,
    *,
    sensor: bool = False,
    finished: bool = True,
    turn: int = 1,
    bigtiff: bool = False,
    byteorder: ByteOrder = "<",
) -> bytes:
    """Build a file as DNG and NEF are: a thumbnail first, the rest below it.

    That is the `finished` photo, and before it the `sensor` data if there are any. `turn` is how
    the camera was held.
    """
    stream = BytesIO()
    tags = [(0x0112, 3, 1, turn, True)]
    with tifffile.TiffWriter(stream, bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(
            np.asarray(small),
            photometric="rgb",
            subfiletype=1,
            subifds=sensor + finished,
            extratags=tags,
        )
        if sensor:
            mosaic = np.asarray(photo.convert("L")).astype(np.uint16) * 16
            file.write(mosaic, photometric="cfa", subfiletype=0)
        if finished:
            file.write(np.asarray(photo), photometric="rgb", subfiletype=int(sensor))
    return stream.getvalue()


def camera_file(photo: Picture, small: Picture) -> bytes:
    """Build a file as older cameras do: a thumbnail, then a JPEG file in the old manner."""
    first = raw_file(photo, small, finished=False)
    jpeg = encode(photo, "JPEG")
    at = len(first) + len(first) % 2
    entries = (
        *((254, 4, 1), (256, 4, photo.width), (257, 4, photo.height), (259, 3, 6)),
        *((262, 3, 6), (513, 4, at + 2 + 12 * 7 + 4), (514, 4, len(jpeg))),
    )
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    end = _end_of_first(first)
    linked = first[:end] + struct.pack("<I", at) + first[end + 4 :]
    return linked.ljust(at, b"\0") + directory + bytes(4) + jpeg


def _end_of_first(tiff: bytes) -> int:
    (directory,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, directory)
    return int(directory + 2 + 12 * entries)


def _without_end(photo: Picture) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, whole in {
        "jpeg": encode(photo, "JPEG"),
        "progressive jpeg": encode(photo, "JPEG", progressive=True),
        "jpeg with restarts": encode(photo, "JPEG", restart_marker_rows=1),
    }.items():
        files |= {
            f"{name} without end": whole[:-2],
            f"{name} with half an end": whole[:-1],
            f"{name} without end, and zeros": whole[:-2] + bytes(8),
        }
    return files | {
        "png without end of this photo": encode(photo, "PNG")[:-12],
        "gif without end": encode(photo.quantize(200), "GIF")[:-1],
    }
