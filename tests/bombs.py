"""Files within every limit that would cost minutes, or gigabytes, to whoever just reads them."""

import struct

from PIL import Image

from tests.images import chunk, encode, noise, picture, png

_BYTES = 10 * 2**20


def files() -> dict[str, bytes]:
    """Build files that no reader may finish."""
    jpeg, gif = encode(noise(), "JPEG"), encode(noise().convert("P"), "GIF")
    image = png(8, 8, bytes(8 * 25))
    screen = gif.index(b",\0\0\0\0")
    return {
        "jpeg of comments": _stuffed(jpeg, 2, b"\xff\xfe\0\x02"),
        "jpeg of exif blocks": _stuffed(jpeg, 2, b"\xff\xe1\0\x09Exif\0\0a"),
        "jpeg of fill bytes": _stuffed(jpeg, 2, b"\xff"),
        "jpeg with 200 scans behind a false end": _redrawn(200, b"\xff\xfe\0\x04\xff\xd9"),
        "large jpeg with 50 scans": _redrawn(50),
        "jpeg of segments between its scans": _redrawn(2, b"\xff\xfe\0\x02" * 100_000),
        "gif of comments": _stuffed(gif, screen, b"!\xfe\x01a\0"),
        "png of texts": _stuffed(image, 33, chunk(b"tEXt", b"k\0v")),
        "png of late texts": _stuffed(image, len(image) - 12, chunk(b"tEXt", b"k\0v")),
        "png of empty data": _stuffed(image, 33, chunk(b"IDAT", b"")),
        "tiff of 2 million strips": _strips(2_000_000),
    }


def _stuffed(data: bytes, at: int, unit: bytes) -> bytes:
    return data[:at] + unit * ((_BYTES - len(data)) // len(unit)) + data[at:]


def _redrawn(scans: int, between: bytes = b"") -> bytes:
    """Draw one plain picture of 36 million pixels again and again; a scan takes 60 bytes."""
    jpeg = encode(Image.new("L", (6000, 6000), 128), "JPEG", progressive=True)
    second = jpeg.index(b"\xff\xda", jpeg.index(b"\xff\xda") + 2)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:second] + between + jpeg[second:-2] + last * scans + b"\xff\xd9"


def _strips(count: int) -> bytes:
    """Build a TIFF one pixel wide, each row of it a strip of its own."""
    entries = [(256, 1, 1), (257, 1, count), (258, 1, 8), (259, 1, 1), (262, 1, 1)]
    entries += [(273, count, 200), (278, 1, 1), (279, count, 200)]
    directory = b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory
    return head.ljust(200, b"\0") + struct.pack("<I", 1) * count


def containers() -> dict[str, bytes]:
    """Build files that hold others: of each the first picture alone is looked at."""
    frames = [Image.new("RGB", (64, 64), (level % 256, 0, 0)) for level in range(300)]
    rest = {"save_all": True, "append_images": frames[1:], "duration": 10}
    photo = encode(picture(), "JPEG")
    return {
        **{
            f"{form.lower()} of 300 frames": encode(frames[0], form, **rest)
            for form in ("PNG", "WEBP", "MPO")
        },
        "gif of 300 frames": encode(
            frames[0].convert("P"), "GIF", save_all=True,
            append_images=[frame.convert("P") for frame in frames[1:]],
        ),
        "jpeg with a thumbnail of itself": photo[:2] + _segment(0xE1, b"Exif\0\0" + photo)
        + photo[2:],
        "jpeg with 9 megabytes of profiles": photo[:2]
        + _segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(65_000)) * 140
        + photo[2:],
    }  # fmt: skip


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
