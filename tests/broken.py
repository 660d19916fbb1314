"""Files with a known signature that lie, stop early or fall apart."""

import struct

from tests.images import chunk, encode, noise, patch, png, retag


def files() -> dict[str, bytes]:
    """Build files that no reader may accept, not even in part."""
    return _png() | _jpeg() | _gif() | _bmp() | _webp() | _tiff() | _boxes()


def wide_files() -> dict[str, bytes]:
    """Build files whose headers promise more pixels than the service accepts.

    All but the bombs hold no pixels at all, or far too few.
    """
    nothing = b"\x78\x9c\x03\0\0\0\0\x01"
    gif = encode(noise().convert("P"), "GIF")
    bmp, tiff, jpeg = (encode(noise(), form) for form in ("BMP", "TIFF", "JPEG"))
    vp8x = b"VP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0"
    webp = encode(noise(), "WEBP")
    files = {
        "png bomb": png(20_000, 20_000, bytes(20_000 * 2501), depth=1, colour=0),
        "png of 100000 x 100000": png(100_000, 100_000, nothing),
        "png of 2 billion squared": png(2**31 - 1, 2**31 - 1, nothing),
        "png just too large": png(50_000, 1001, nothing),
        "png just over the bomb warning": png(10_000, 9000, nothing),
        "png of negative width": png(2**32 - 10, 10, nothing),
        "png of one endless row": png(2**31 - 1, 1, nothing),
        "jpeg of 65535 x 65535": patch(jpeg, b"\xff\xc0", 5, ">HH", 65535, 65535),
        "jpeg just over the bomb warning": patch(jpeg, b"\xff\xc0", 5, ">HH", 9000, 10_000),
        "gif of 65535 x 65535": patch(gif, b"GIF", 6, "<HH", 65535, 65535),
        "gif with a vast frame": patch(gif, b",\0\0\0\0", 5, "<HH", 65535, 65535),
        "gif just over the bomb warning": patch(gif, b",\0\0\0\0", 5, "<HH", 10_000, 9000),
        "bmp of 100000 x 100000": patch(bmp, b"BM", 18, "<ii", 100_000, 100_000),
        "bmp upside down and vast": patch(bmp, b"BM", 18, "<ii", 10_000, -10_000),
        "tiff of 100000 x 100000": retag(retag(tiff, 256, value=100_000), 257, value=100_000),
        "tiff just over the bomb warning": retag(retag(tiff, 256, value=10_000), 257, value=9000),
        "webp with a vast canvas": webp[:12] + vp8x + webp[12:],
    }
    for name, form in (("avif", "AVIF"), ("heic", "HEIF")):
        vast = patch(encode(noise(), form), b"ispe", 8, ">II", 16_000, 16_000)
        files[f"{name} of 16000 x 16000"] = vast
    return files


def _png() -> dict[str, bytes]:
    rows = b"".join(b"\0" + bytes(range(30)) for _ in range(10))
    good = png(10, 10, rows)
    return {
        "png without rows": png(10, 10, b""),
        "png with half its rows": png(10, 10, rows[:150]),
        "png taller than its rows": png(10, 1000, rows),
        "png wider than its rows": png(1000, 10, rows),
        "interlaced png with few rows": png(10, 10, rows[:100], interlace=1),
        "png of width 0": png(0, 10, rows),
        "png of height 0": png(10, 0, rows),
        "png of depth 3": png(10, 10, rows, depth=3),
        "png of colour type 5": png(10, 10, rows, colour=5),
        "png with a filter of 99": png(10, 10, rows.replace(b"\0\0", b"\x63\0")),
        "png without header": good[:8] + good[33:],
        "png with two headers": good[:8] + good[8:33] + png(99, 99, b"")[8:33] + good[33:],
        "png without data": good[:33] + good[-12:],
        "png with wrong checksum": good[:29] + b"abcd" + good[33:],
        "png with plain data": good[:33] + chunk(b"IDAT", rows) + good[-12:],
        "png of its signature": good[:8] + bytes(100),
        "png with html": good[:8] + b"<script>alert(1)</script>" * 9,
    }


def _jpeg() -> dict[str, bytes]:
    good = encode(noise(), "JPEG")
    progressive = encode(noise(), "JPEG", progressive=True)
    middle = (good.index(b"\xff\xda") + len(good)) // 2
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    frame = b"\xff\xc0"
    return {
        "jpeg of its signature": good[:3] + bytes(30),
        "jpeg of start and end": b"\xff\xd8\xff\xd9" + bytes(30),
        "jpeg with html": b"\xff\xd8\xff" + b"<script>alert(1)</script>" * 9,
        "jpeg without end and its last byte": good[:-3],
        "jpeg without end and its last byte, and zeros": good[:-3] + bytes(512),
        "jpeg that a disk filled up with zeros": good[:middle] + bytes(len(good)),
        "progressive jpeg without end and its last scan": progressive[
            : progressive.rindex(b"\xff\xda")
        ],
        "jpeg that ends halfway": good[:middle] + b"\xff\xd9",
        "jpeg that ends at once": good[: good.index(b"\xff\xda") + 14] + b"\xff\xd9",
        "jpeg taller than its data": patch(good, frame, 5, ">H", 640),
        "jpeg wider than its data": patch(good, frame, 7, ">H", 960),
        "jpeg of height 0": patch(good, frame, 5, ">H", 0),
        "jpeg of width 0": patch(good, frame, 7, ">H", 0),
        "jpeg of 12 bits": patch(good, frame, 4, ">B", 12),
        "jpeg of 5 components": patch(good, frame, 9, ">B", 5),
        "jpeg with a sampling of 0": patch(good, frame, 11, ">B", 0),
        "jpeg with an unknown table": patch(good, frame, 12, ">B", 3),
        "jpeg without frame": good.replace(frame, b"\xff\xfe", 1),
        "jpeg without quantisation": good.replace(b"\xff\xdb", b"\xff\xfe"),
        "jpeg without scan": good[: good.index(b"\xff\xda")] + b"\xff\xd9",
        "jpeg with a segment past its end": patch(good, frame, 2, ">H", 65535),
        "jpeg with 2000 scans": progressive[:-2] + last_scan * 2000 + b"\xff\xd9",
        "jpeg of thumbnail alone": good[:20] + b"\xff\xe1\xff\xff" + b"Exif\0\0",
    }


def _gif() -> dict[str, bytes]:
    gif = encode(noise().convert("P"), "GIF")
    screen = gif[: gif.index(b",\0\0\0\0")]
    return {
        "gif without frames": screen + b";" + bytes(20),
        "gif of its signature": b"GIF89a" + bytes(3),
        "gif of extensions": screen + b"!\xf9\x04\0\0\0\0\0" * 50 + b";",
        "gif with a code size of 200": patch(gif, b",\0\0\0\0", 10, "<B", 200),
        "gif with an empty frame": screen + b",\0\0\0\0\x60\0\x40\0\0\x08\0;",
        "gif with javascript": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "gif of size 0": patch(screen, b"GIF", 6, "<HH", 0, 0) + b";" + bytes(20),
    }


def _bmp() -> dict[str, bytes]:
    bmp = encode(noise(), "BMP")
    run = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 1078, 40, 9, 9, 1, 8, 1, 0, 0, 0, 0, 0)
    return {
        "bmp of width 0": patch(bmp, b"BM", 18, "<i", 0),
        "bmp of height 0": patch(bmp, b"BM", 22, "<i", 0),
        "bmp taller than its data": patch(bmp, b"BM", 22, "<i", 640),
        "bmp with pixels past its end": patch(bmp, b"BM", 10, "<I", 10**9),
        "bmp of 7 bits": patch(bmp, b"BM", 28, "<H", 7),
        "bmp of unknown compression": patch(bmp, b"BM", 30, "<I", 9),
        "bmp without pixels": bmp[:54],
        "bmp that runs short": run + bytes(1024) + b"\x05\x01\0\x01",
    }


def _webp() -> dict[str, bytes]:
    webp = encode(noise(), "WEBP")
    return {
        "webp of its signature": webp[:12] + bytes(20),
        "webp of size 0": patch(webp, b"RIFF", 4, "<I", 0),
        "webp longer than it is": patch(webp, b"RIFF", 4, "<I", 2**31),
        "webp with a long chunk": patch(webp, b"VP8 ", 4, "<I", 2**31),
        "webp with a wrong start code": patch(webp, b"\x9d\x01\x2a", 0, "<B", 0),
        "webp of unknown chunk": webp.replace(b"VP8 ", b"VP9 "),
    }


def _tiff() -> dict[str, bytes]:
    raw = encode(noise(), "TIFF")
    packed = encode(noise(), "TIFF", compression="tiff_adobe_deflate")
    files = {
        "tiff that ends in its strip": retag(raw, 273, value=len(raw) - 10),
        "tiff of its signature": raw[:8] + bytes(30),
        "tiff with a far directory": patch(raw, b"II*", 4, "<I", 2**31),
        "tiff with a directory at 0": patch(raw, b"II*", 4, "<I", 0),
        "big tiff with nothing": b"II+\0\x08\0\0\0" + bytes(30),
    }
    for name, good in (("raw", raw), ("packed", packed)):
        files |= {
            f"{name} tiff with strips past its end": retag(good, 273, value=10**9),
            f"{name} tiff of width 0": retag(good, 256, value=0),
            f"{name} tiff of height 0": retag(good, 257, value=0),
            f"{name} tiff taller than its data": retag(good, 257, value=6400),
            f"{name} tiff of unknown compression": retag(good, 259, value=65000),
            f"{name} tiff of unknown colours": retag(good, 262, value=77),
            f"{name} tiff of a billion samples": retag(good, 277, value=10**9),
        }
    return files


def _boxes() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, form in (("avif", "AVIF"), ("heic", "HEIF")):
        good = encode(noise(), form)
        files |= {
            f"{name} of its brand": good[:12] + bytes(20),
            f"{name} of its first box": good[: good.index(b"meta") - 4],
            f"{name} with an endless box": patch(good, b"meta", -4, ">I", 2**32 - 1),
            f"{name} with a box of 1 byte": patch(good, b"meta", -4, ">I", 1),
            f"{name} without size": good.replace(b"ispe", b"free"),
            f"{name} without location": good.replace(b"iloc", b"free"),
            f"{name} of size 0": patch(good, b"ispe", 8, ">II", 0, 0),
            f"{name} without pixels": good[: good.index(b"mdat") + 4],
        }
    files["heic larger than its data"] = patch(encode(noise(), "HEIF"), b"ispe", 8, ">II", 640, 640)
    files["container of no known codec"] = b"\0\0\0\x14ftypmif1\0\0\0\0miaf" + bytes(40)
    return files
